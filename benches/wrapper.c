/* The floor of a wrapper: the least that must stand between a host and a program that is to survive it.
 *
 *   wrapper FOLDER PROGRAM [ARGUMENT...]
 *
 * A session of its own and heir to orphans; both streams of the program in files of its own; how it ended in a record that is written
 * aside, synced and renamed. Names in FOLDER begin with the number of this process. Link it statically: the loader costs more than all of this. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *named(char *buffer, size_t size, const char *folder, const char *ending) {
    snprintf(buffer, size, "%s/%d.%s", folder, (int)getpid(), ending);
    return buffer;
}

static int record(const char *folder, int status) {
    char aside[4096], name[4096], text[64];
    int length = snprintf(text, sizeof text, "{\"status\":%d}\n", status);
    int file = open(named(aside, sizeof aside, folder, "exit.tmp"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || write(file, text, (size_t)length) != length || fdatasync(file) || close(file)) return 1;
    return rename(aside, named(name, sizeof name, folder, "exit"));
}

int main(int argc, char **argv) {
    if (argc < 3) { fprintf(stderr, "usage: wrapper FOLDER PROGRAM [ARGUMENT...]\n"); return 2; }
    char out[4096], err[4096];
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, named(out, sizeof out, argv[1], "out"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, named(err, sizeof err, argv[1], "err"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    pid_t child;
    int status;
    if (posix_spawn(&child, argv[2], &actions, NULL, argv + 2, environ) || waitpid(child, &status, 0) < 0) return 1;
    return record(argv[1], status) || status != 0;
}
