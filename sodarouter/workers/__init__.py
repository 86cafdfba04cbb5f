"""Processes that take in: `[server] workers`.

Each accepts connections on the sockets of `[server]`, verifies, parses and answers; the router stores, decides and
delivers. Its side is `crew` and `worker`, that of the process is `inside` and `there`; `wire`, `handed` and `said` are what
they have in common. What the router hands over may be pickled: the process has to trust the router in any case. What comes
back never is, and is looked at before it is believed, as the process faces the internet.

Nothing is imported here, as the process would import it too.
"""
