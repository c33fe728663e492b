"""What Starlette has no module for. Each module stands alone, and `import minibg` imports none.

What may live here: extensions that rest on the mechanism and the framework, neither of which knows
of them.
"""
