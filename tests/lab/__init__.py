"""Proves that the lab shows what happens: recordings against the rules' model, and its page.

Read `test_recorder` first (what it sees of one request), then `test_experiment` (contenders in
processes of their own, and what visitors do to them) and `test_presets` (each shows what it says).
`test_site` is about the lab's answers, `test_page` about the page in a real browser, `test_hosted`
about an application of the visitor's. `test_command_line`, `test_receiver`, `test_delivery` and
`test_timeline` are about `python -m minibg`. `trying.py` has what they share.
"""
