/* The floor: what the machine needs for the same duties when no host adds anything to them.
 *
 *   floor NODES IN_FLIGHT JOURNAL PROGRAM [ARGUMENT...]
 *
 * Starts PROGRAM so many times, IN_FLIGHT at once. Both streams of each are read to their end. For each three lines go to JOURNAL:
 * the intent, durable before the start; the start; the end. A thread of its own writes and syncs what has gathered, without a timer.
 * IN_FLIGHT 1 is also the floor of a chain. Prints the seconds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { IN_FLIGHT_MAX = 64, INTENTS_AHEAD = 64, LINE_MAX_BYTES = 256 };

struct child {
    pid_t pid;
    int number;
    int streams[2]; /* -1 when closed; both closed: the slot is free or its child is to be reaped */
};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* ---- the journal: whoever appends fills one buffer, the writer syncs the other ---- */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gathered = PTHREAD_COND_INITIALIZER, synced = PTHREAD_COND_INITIALIZER;
static char *filling, *writing;
static size_t filled, room;
static long appended, durable;
static int journal, closing;

static void *write_journal(void *unused) {
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!filled && !closing) pthread_cond_wait(&gathered, &lock);
        if (!filled) break;
        char *batch = filling;
        size_t length = filled;
        long last = appended;
        filling = writing;
        writing = batch;
        filled = 0;
        pthread_mutex_unlock(&lock);
        for (size_t done = 0; done < length;) {
            ssize_t n = write(journal, batch + done, length - done);
            if (n < 0) fail("write");
            done += (size_t)n;
        }
        if (fdatasync(journal)) fail("fdatasync");
        pthread_mutex_lock(&lock);
        durable = last;
        pthread_cond_broadcast(&synced);
    }
    pthread_mutex_unlock(&lock);
    return unused;
}

/* Appends a line of about 150 bytes, as a journal of events has them; returns its number. */
static long append(const char *kind, int node, int value) {
    char line[LINE_MAX_BYTES];
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    int length = snprintf(line, sizeof line,
        "{\"c\":\"00000000\",\"p\":\"00000000\",\"s\":%010d,\"t\":%ld%06ld,\"k\":\"%s\",\"run\":\"20261120-120000-abcde\",\"node\":\"all[%d]\",\"att\":1,\"d\":{\"value\":%d}}\n",
        node, (long)at.tv_sec, at.tv_nsec / 1000, kind, node, value);
    pthread_mutex_lock(&lock);
    if (filled + (size_t)length > room) { fprintf(stderr, "the journal's buffer is full\n"); exit(1); }
    memcpy(filling + filled, line, (size_t)length);
    filled += (size_t)length;
    long number = ++appended;
    pthread_cond_signal(&gathered);
    pthread_mutex_unlock(&lock);
    return number;
}

static void wait_durable(long number) {
    pthread_mutex_lock(&lock);
    while (durable < number) pthread_cond_wait(&synced, &lock);
    pthread_mutex_unlock(&lock);
}

/* ---- children ---- */
static void start(struct child *child, char **argv) {
    int pipes[2][2];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    for (int i = 0; i < 2; i++) {
        if (pipe2(pipes[i], O_CLOEXEC)) fail("pipe2");
        posix_spawn_file_actions_adddup2(&actions, pipes[i][1], i + 1);
    }
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int error = posix_spawn(&child->pid, argv[0], &actions, &attributes, argv, environ);
    if (error) { fprintf(stderr, "%s: %s\n", argv[0], strerror(error)); exit(1); }
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    for (int i = 0; i < 2; i++) {
        close(pipes[i][1]);
        child->streams[i] = pipes[i][0];
    }
}

/* Reads what is there; closes the stream at its end. */
static void drain(int *stream) {
    static char buffer[65536];
    ssize_t n = read(*stream, buffer, sizeof buffer);
    if (n < 0) fail("read");
    if (n == 0) { close(*stream); *stream = -1; }
}

/* Waits until at least one child has ended; reaps all that have. Returns how many. */
static int reap(struct child *children, int slots) {
    struct pollfd polled[2 * IN_FLIGHT_MAX];
    for (int i = 0; i < 2 * slots; i++) polled[i] = (struct pollfd){.fd = children[i / 2].pid ? children[i / 2].streams[i % 2] : -1, .events = POLLIN};
    if (poll(polled, (nfds_t)(2 * slots), -1) < 0) fail("poll");
    int ended = 0;
    for (int i = 0; i < slots; i++) {
        struct child *child = &children[i];
        for (int j = 0; j < 2; j++) if (polled[2 * i + j].revents) drain(&child->streams[j]);
        if (child->pid && child->streams[0] < 0 && child->streams[1] < 0) {
            int status;
            if (waitpid(child->pid, &status, 0) < 0) fail("waitpid");
            if (status) { fprintf(stderr, "a child failed\n"); exit(1); }
            append("att.end", child->number, status);
            child->pid = 0;
            ended++;
        }
    }
    return ended;
}

static void run_all(int nodes, int in_flight, char **argv) {
    struct child children[IN_FLIGHT_MAX] = {{0}};
    long *intents = calloc((size_t)nodes, sizeof *intents);
    if (!intents) fail("calloc");
    for (int started = 0, intended = 0, ended = 0; ended < nodes;) {
        for (int i = 0; i < in_flight && started < nodes; i++) {
            if (children[i].pid) continue;
            for (; intended < nodes && intended < started + INTENTS_AHEAD; intended++) intents[intended] = append("att.intent", intended, 0);
            wait_durable(intents[started]);
            children[i].number = started;
            start(&children[i], argv);
            append("att.start", started++, (int)children[i].pid);
        }
        ended += reap(children, in_flight);
    }
    free(intents);
}

int main(int argc, char **argv) {
    int nodes = argc > 4 ? atoi(argv[1]) : 0, in_flight = argc > 4 ? atoi(argv[2]) : 0;
    if (nodes < 1 || in_flight < 1 || in_flight > IN_FLIGHT_MAX) { fprintf(stderr, "usage: floor NODES IN_FLIGHT JOURNAL PROGRAM [ARGUMENT...]\n"); return 2; }
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    room = (size_t)nodes * 3 * LINE_MAX_BYTES;
    filling = malloc(room);
    writing = malloc(room);
    journal = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (!filling || !writing || journal < 0) fail(argv[3]);
    pthread_t writer;
    pthread_create(&writer, NULL, write_journal, NULL);
    run_all(nodes, in_flight, argv + 4);
    wait_durable(append("run.end", nodes, 0));
    pthread_mutex_lock(&lock);
    closing = 1;
    pthread_cond_signal(&gathered);
    pthread_mutex_unlock(&lock);
    pthread_join(writer, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.4f\n", (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9);
    return 0;
}
