"""What keeps work safe: whole files, one writer, room on the disk, orderly stops.

Nothing here knows about runs or models; every layer above writes and stops through it.
"""
