"""The laboratory, where one sees what happens after `return`.

`python -m minibg` delivers a webhook to a receiver on a real server, and draws its timeline.
`python -m minibg.lab` does so in the browser with any request that a visitor composes, on minibg,
the versions of the walkthrough, Starlette and FastAPI. `minibg.lab.picture.record` draws a request
to any ASGI application. All of them record with `recorder.py`.

What may live here: what is recorded, how, and how it is shown. It needs the extra `standard`, so
nothing but `minibg/__main__.py` imports it.
"""
