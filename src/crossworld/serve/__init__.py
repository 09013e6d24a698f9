"""The HTTP service: analyses as jobs, and effects of new prompts from exported models.

The server process never opens a table that somebody sent: it checks the spec, keeps the bytes, and
hands both to a worker, a process of its own with limits on memory, time and files (`worker`).
"""
