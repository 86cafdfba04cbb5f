"""The torture: a router that is killed, filled up, reloaded and refused under load, and an account of every event.

    python -m tests.torture --minutes 10 --report report.txt

Senders post bodies at a rate, each with an id of its own, some twice; sinks fail, hang, dawdle and hang up. Meanwhile the
router, a process of its own, goes through one life after another (`course`): it dies of SIGKILL at every named step between
receive and settle (`victim`) and at any moment, its disk is full, its writes fail, it is reloaded and stopped. What was
sent, answered and taken stands in a ledger that asks the router nothing (`ledger`). At the end the load stops, the sinks are
healed, the router finishes, and its own account is held against the ledger (`verdict`): every event that was answered with
a 200 is at its destinations or a dead letter that an operator is shown, every body that is no event is in the quarantine.

It runs on Linux. Where nothing can be mounted, a limit on the size of files stands in for the full disk.
"""
