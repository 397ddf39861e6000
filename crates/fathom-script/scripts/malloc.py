# Memory that was asked for and not freed, by the calls that asked for it. Needs arguments and return values:
#
# uftrace-option: -A malloc@arg1 -R malloc@retval -A calloc@arg1,arg2 -R calloc@retval -A realloc@arg1,arg2 -R realloc@retval -A free@arg1

stacks = {}
blocks = {}
totals = {"allocations": 0, "bytes": 0, "frees": 0, "unknown": 0, "blind": 0}


def uftrace_entry(ctx):
    stack = stacks.setdefault(ctx["tid"], [])
    del stack[ctx["depth"]:]
    stack.append((ctx["name"], ctx.get("args", ())))
    if ctx["name"] == "free":
        if "args" in ctx:
            release(ctx["args"][0])
        else:
            totals["blind"] += 1


def uftrace_exit(ctx):
    name = ctx["name"]
    if name not in ("malloc", "calloc", "realloc"):
        return
    stack = stacks.get(ctx["tid"], [])[:ctx["depth"] + 1]
    args = stack[-1][1] if stack and stack[-1][0] == name else ()
    if not args or "retval" not in ctx:
        totals["blind"] += 1
        return
    if name == "realloc" and args[0] and (ctx["retval"] or not args[1]):
        release(args[0])
    if ctx["retval"]:
        size = args[0] * args[1] if name == "calloc" else args[-1]
        totals["allocations"] += 1
        totals["bytes"] += size
        blocks[ctx["retval"]] = (size, " > ".join(call[0] for call in stack))


def release(address):
    if address:
        totals["frees"] += 1
        if blocks.pop(address, None) is None:
            totals["unknown"] += 1


def uftrace_end():
    print("%(allocations)d allocations of %(bytes)d bytes, %(frees)d frees" % totals)
    if totals["unknown"]:
        print("%(unknown)d frees of memory that was not seen to be asked for" % totals)
    if totals["blind"]:
        print("%(blind)d calls without arguments or return value: record with -S malloc, or with -a" % totals)
    left = {}
    for size, path in blocks.values():
        count, total = left.get(path, (0, 0))
        left[path] = (count + 1, total + size)
    print("not freed: %d" % len(blocks))
    if left:
        print("%10s %12s  %s" % ("blocks", "bytes", "asked for by"))
    for path, (count, total) in sorted(left.items(), key=lambda item: (-item[1][1], item[0])):
        print("%10d %12d  %s" % (count, total, path))
