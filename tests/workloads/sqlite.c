// A real workload for the SQLite amalgamation: create, insert, index, join, group, update, delete, select.
// usage: sqlite ROWS. Prints results only: the same at every run. CPU time of the work goes to stderr with -t.
#include "sqlite3.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void check(sqlite3 *db, int result, const char *what) {
    if (result != SQLITE_OK && result != SQLITE_ROW && result != SQLITE_DONE) {
        fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(db));
        exit(2);
    }
}

static int print_row(void *arg, int columns, char **values, char **names) {
    for (int i = 0; i < columns; i++)
        printf("%s%s", i ? "|" : "", values[i] ? values[i] : "NULL");
    printf("\n");
    return 0;
}

static void run(sqlite3 *db, const char *sql) { check(db, sqlite3_exec(db, sql, print_row, 0, 0), sql); }

static void insert(sqlite3 *db, int rows) {
    sqlite3_stmt *stmt;
    char text[64];
    check(db, sqlite3_prepare_v2(db, "INSERT INTO item VALUES(?,?,?,?)", -1, &stmt, 0), "prepare");
    for (int i = 0; i < rows; i++) {
        snprintf(text, sizeof text, "item number %d of %d", i * 7919 % rows, rows);
        sqlite3_bind_int(stmt, 1, i);
        sqlite3_bind_int(stmt, 2, i % 97);
        sqlite3_bind_text(stmt, 3, text, -1, SQLITE_TRANSIENT);
        sqlite3_bind_double(stmt, 4, i * 0.25);
        check(db, sqlite3_step(stmt), "insert");
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
}

static void look_up(sqlite3 *db, int rows) {
    sqlite3_stmt *stmt;
    long total = 0;
    check(db, sqlite3_prepare_v2(db, "SELECT length(name) FROM item WHERE id=?", -1, &stmt, 0), "prepare");
    for (int i = 0; i < rows; i += 3) {
        sqlite3_bind_int(stmt, 1, i);
        if (sqlite3_step(stmt) == SQLITE_ROW)
            total += sqlite3_column_int(stmt, 0);
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    printf("looked up %ld\n", total);
}

int main(int argc, char **argv) {
    int rows = argc > 1 ? atoi(argv[1]) : 1000, timed = argc > 2 && !strcmp(argv[2], "-t");
    double start = cpu_ms();
    sqlite3 *db;
    check(0, sqlite3_open(":memory:", &db), "open");
    run(db, "CREATE TABLE item(id INTEGER PRIMARY KEY, kind INT, name TEXT, price REAL);"
            "CREATE TABLE kind(id INTEGER PRIMARY KEY, label TEXT);");
    run(db, "BEGIN");
    insert(db, rows);
    run(db, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<96) "
            "INSERT INTO kind SELECT i, 'kind ' || i FROM n;");
    run(db, "COMMIT");
    run(db, "CREATE INDEX item_kind ON item(kind, price)");
    run(db, "SELECT k.label, count(*), sum(i.price) FROM kind k JOIN item i ON i.kind=k.id "
            "GROUP BY k.id ORDER BY 3 DESC, 1 LIMIT 5");
    run(db, "UPDATE item SET price=price*2 WHERE kind IN (SELECT id FROM kind WHERE label LIKE '%7')");
    run(db, "DELETE FROM item WHERE id%10=3");
    run(db, "SELECT count(*), sum(price), max(name) FROM item");
    look_up(db, rows);
    sqlite3_close(db);
    if (timed)
        fprintf(stderr, "cpu_ms %.3f\n", cpu_ms() - start);
    return 0;
}
