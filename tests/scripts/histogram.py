# Imports, state in a class, only some of the functions defined.
import math
class State(object):
    buckets = {}

def uftrace_exit(ctx):
    bucket = int(math.log(ctx["duration"] + 1, 2))
    State.buckets[bucket] = State.buckets.get(bucket, 0) + 1

def uftrace_end():
    print(__name__, sorted(State.buckets.items()))
