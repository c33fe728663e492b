"""Proves what becomes of Celery's lists, against real brokers and real workers that are killed.

`conftest.py` starts the brokers, Redis by pip and RabbitMQ if the machine has it, and `program.py`
has the tasks that a worker runs. Read `test_add_task` first (which tasks can be handed over), then
`test_after` (when), `test_nothing_lost` (what survives which death) and `test_rules` (which rules
hold in another process). `test_outgrown` and `test_exercises` are about the examples that
hand lists over.
"""
