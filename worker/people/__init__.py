"""What a person may look at and decide: values in, values out, and one exception with one sentence.

Every function takes a connection whose search_path does not matter. The command line and the ops view stand on
this room; what was decided here is applied by the workers, which do not know it.
"""
