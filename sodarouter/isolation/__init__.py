"""Destinations in processes of their own: `isolation = "process"`.

The router's side is `pool` and `worker`, that of the process is `inside`; `frames`, `handed` and `said` are what they have
in common. What the router hands over is pickled: the process has to trust the router in any case. What comes back is JSON,
bounded and validated, as the router need not trust the process.

Nothing is imported here, as the process would import it too.
"""
