"""The ops view: what the output topics say about now, what the tables say about one order, and pages for people.

Reads only. What a person decides goes through `worker.people`, like on the command line.
"""
