from collections import defaultdict
tasks = defaultdict(lambda: [0, 0, 0])

def uftrace_entry(ctx):
    task = tasks[ctx["tid"]]
    task[0] += 1
    task[1] = max(task[1], ctx["depth"])

def uftrace_exit(ctx):
    tasks[ctx["tid"]][2] = ctx["timestamp"]

def uftrace_end():
    for tid, values in tasks.items():
        print(tid, values)
