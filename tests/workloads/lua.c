// The interpreter's main, which the crate with Lua's sources leaves out: usage: lua SCRIPT [ARGS].
// With -t as the first word, the CPU time of the script goes to stderr.
#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    int timed = argc > 1 && !strcmp(argv[1], "-t"), first = 1 + timed, failed;
    if (argc <= first) {
        fprintf(stderr, "usage: lua [-t] SCRIPT [ARGS]\n");
        return 2;
    }
    double start = cpu_ms();
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_createtable(L, argc, 0);
    for (int i = first; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - first);
    }
    lua_setglobal(L, "arg");
    failed = luaL_dofile(L, argv[first]);
    if (failed)
        fprintf(stderr, "lua: %s\n", lua_tostring(L, -1));
    lua_close(L);
    if (timed)
        fprintf(stderr, "cpu_ms %.3f\n", cpu_ms() - start);
    return failed;
}
