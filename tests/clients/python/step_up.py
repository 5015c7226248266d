"""The second tool, which needs more scope than the first one."""

import asyncio


async def step_up(call):
    """Calls the second tool, and then the first one again: what the second one answers or how it ends, and the answer
    of the first one."""
    outcome = {}
    try:
        outcome["wrote"] = await asyncio.wait_for(call("write", "hello"), 20)
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        outcome["ended"] = repr(error)
    outcome["still"] = await asyncio.wait_for(call("echo", "again"), 20)
    return outcome
