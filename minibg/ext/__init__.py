"""Extensions: modules that have no counterpart in Starlette. `import minibg` imports none of them.

What may live here: extensions that rest on the mechanism and the framework, neither of which knows
of them.
"""
