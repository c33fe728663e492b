"""The laboratory: a webhook receiver on a real server, and the timeline of what happens there.

What may live here: what `python -m minibg` runs. It needs the extra `standard`, so nothing but
`__main__.py` imports it.
"""
