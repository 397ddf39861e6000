# Runs inside of the user's interpreter: calls the functions of a script for blocks of calls that come through a pipe.
# Arguments: descriptor of the calls, descriptor of the answers, name of the script, whether it is a file.
import os, pickle, signal, struct, sys, traceback, types


def _main():
    calls_fd, answers_fd = int(sys.argv[1]), int(sys.argv[2])
    name, is_file = sys.argv[3], sys.argv[4] == "1"
    calls = os.fdopen(calls_fd, "rb", 1 << 18)
    # As with uftrace. What a script starts must not keep the pipes open.
    sys.argv = [""]
    for fd in (calls_fd, answers_fd):
        os.set_inheritable(fd, False)

    def answer(kind, payload=b""):
        message = struct.pack("=cI", kind, len(payload)) + payload
        try:
            while message:
                message = message[os.write(answers_fd, message):]
        except OSError:
            # The script has closed the pipe. The number says so.
            os._exit(79)

    def text(value):
        return str(value).encode("utf-8", "replace")

    def failed(what, error):
        # Only what is in the user's files is of interest: the frames of this bridge go.
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == "<fathom bridge>":
            trace = trace.tb_next
        last = trace
        place = ""
        while last is not None:
            if last.tb_frame.f_code.co_filename == path:
                place = "%s, line %d" % (name, last.tb_lineno)
            last = last.tb_next
        if isinstance(error, SyntaxError) and error.filename == path:
            place = "%s, line %s" % (name, error.lineno)
        if isinstance(error, BrokenPipeError):
            # Nobody reads what is printed.
            answer(b"P")
            os._exit(1)
        if isinstance(error, SystemExit):
            answer(b"X", text("the script exited (%s) in %s" % (error.code, place or what)))
        else:
            stopped = isinstance(error, KeyboardInterrupt)
            try:
                traceback.print_exception(type(error), error, trace)
                sys.stderr.flush()
            except Exception:
                pass
            said = error.msg if isinstance(error, SyntaxError) else str(error)
            said = ": ".join(part for part in (type(error).__name__, said) if part)
            if place:
                said = "%s: %s" % (place, said)
                place = " in " + place
            answer(b"I" if stopped else b"X", text(place if stopped else said))
        try:
            sys.stdout.flush()
        except Exception:
            pass
        os._exit(1)

    def read(length):
        try:
            data = calls.read(length)
        except (OSError, ValueError):
            os._exit(79)
        if len(data) != length:
            # Whoever calls is gone; it knows why.
            os._exit(1)
        return data

    def message():
        kind, length = struct.unpack("=cI", read(5))
        return kind, read(length)

    path = os.path.abspath(name) if is_file else "<%s>" % name
    module = types.ModuleType(os.path.splitext(os.path.basename(name))[0])
    module.__file__ = path
    sys.modules[module.__name__] = module
    if is_file:
        sys.path[0:1] = [os.path.dirname(path)]
    # How we are told to end by who has started us, rather than by the terminal.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kind, source = message()
    if not is_file:
        import linecache
        lines = source.decode("utf-8").splitlines(True)
        linecache.cache[path] = (len(source), None, lines, path)
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except BaseException as error:
        failed("loading", error)

    def function(which):
        found = getattr(module, which, None)
        return found if callable(found) else None

    begin, end = function("uftrace_begin"), function("uftrace_end")
    on_entry, on_exit, on_event = (function("uftrace_" + which) for which in ("entry", "exit", "event"))
    funcs, note = getattr(module, "UFTRACE_FUNCS", None), b""
    listed = []
    if isinstance(funcs, (list, tuple, set, frozenset)):
        listed = [one for one in funcs if isinstance(one, str)]
        if len(listed) != len(funcs):
            listed, note = [], b"UFTRACE_FUNCS has elements that are no strings, so it chooses nothing"
    elif funcs is not None:
        note = b"UFTRACE_FUNCS is no list, so it chooses nothing"
    ready = struct.pack("=BBB", on_entry is not None, on_exit is not None, on_event is not None)
    parts = [note] + [one.encode("utf-8", "replace") for one in listed]
    answer(b"R", ready + b"".join(struct.pack("=I", len(part)) + part for part in parts))

    names, values = [], iter(())
    following = lambda: next(values)
    unpack = struct.Struct("=BBHiQQQI").iter_unpack

    def block(data):
        for kind, more, depth, tid, time, address, duration, name in unpack(data):
            if kind == 0:
                if more:
                    on_entry({"tid": tid, "depth": depth, "timestamp": time, "address": address,
                              "name": names[name], "args": following()})
                else:
                    on_entry({"tid": tid, "depth": depth, "timestamp": time, "address": address,
                              "name": names[name]})
            elif kind == 1:
                if more:
                    on_exit({"tid": tid, "depth": depth, "timestamp": time, "address": address,
                             "name": names[name], "duration": duration, "retval": following()})
                else:
                    on_exit({"tid": tid, "depth": depth, "timestamp": time, "address": address,
                             "name": names[name], "duration": duration})
            else:
                on_event({"tid": tid, "depth": depth, "timestamp": time, "address": address,
                          "name": names[name], "args": following()})

    what = "uftrace_begin"
    try:
        while True:
            kind, data = message()
            if kind == b"C":
                what = "a callback"
                block(data)
            elif kind == b"N":
                names.extend(pickle.loads(data))
            elif kind == b"V":
                values = iter(pickle.loads(data))
            elif kind == b"B":
                if begin is not None:
                    begin(pickle.loads(data))
            elif kind == b"F":
                sys.stdout.flush()
            elif kind == b"L":
                # The program runs in the same terminal, and ^C is for it.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                sys.stdout.flush()
                answer(b"L")
            else:
                what = "uftrace_end"
                if end is not None:
                    end()
                break
        what = "the end"
        sys.stdout.flush()
    except BaseException as error:
        failed(what, error)
    answer(b"D")


_main()
