"""Loss of power, by replay: what a router wrote is recorded call by call, and a disk is made of what was synced.

A killed process leaves the kernel's page cache behind; a loss of power does not. So a real router runs under strace, which
records what it writes, truncates, creates, deletes and syncs in the folder of its spool, and when it answers a sender. From
any place in this record `storage` makes the files that could be found after the power failed there: what was synced, and of
the rest whatever chance had put on the disk, torn at the borders of sectors.
"""
