"""The lab shows what happens after `return`.

`python -m minibg` delivers a webhook to a receiver on a real server, and draws the timeline of the
request. `python -m minibg.lab` opens a page in the browser, on which a visitor composes a request
and runs it on minibg, the versions of the walkthrough, Starlette and FastAPI. The function
`minibg.lab.picture.record` draws one request to any ASGI application. All of them record with
`recorder.py`.

What may live here: recording, and showing the recordings. The lab needs the extra `standard`, so
only `minibg/__main__.py` imports it.
"""
