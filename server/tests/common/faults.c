/* Faults of system calls, injected into a process by LD_PRELOAD.
 *
 * The test maps the file that WAVETANK_FAULTS names, and writes to it which calls to count and what
 * happens at the n-th: the process is killed before or after it (or when half of a write is done),
 * the call fails with an error, or it takes long. Only accept and calls on files below the
 * directory WAVETANK_FAULTS_BELOW are counted.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Shared with faults.rs; all 64 bits wide. */
struct control {
    _Atomic long calls;     /* bit mask of the calls to count */
    _Atomic long countdown; /* how many more calls until the fault; 0: no fault */
    _Atomic long action;
    _Atomic long value;     /* the error number, or milliseconds */
    _Atomic long times;     /* how often the fault strikes from then on */
    _Atomic long counted;   /* calls so far */
    _Atomic long happened;  /* how often it struck */
};

enum { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, UNLINK = 16, TRUNCATE = 32, ACCEPT = 64,
       MKDIR = 128, READ = 256 };
enum { KILL_BEFORE = 1, KILL_AFTER = 2, KILL_HALF = 3, FAIL = 4, DELAY = 5 };

#define FDS 4096
static struct control *control;
static const char *below;
static size_t below_len;
static _Atomic char ours[FDS];
static __thread int inside;

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("WAVETANK_FAULTS");
    below = getenv("WAVETANK_FAULTS_BELOW");
    if (!path || !below) return;
    below_len = strlen(below);
    inside = 1;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) control = map;
        close(fd);
    }
    inside = 0;
    if (!control) {
        fprintf(stderr, "faults: cannot map %s\n", path);
        _exit(99);
    }
}

static int is_below(const char *path) {
    return control && path && !strncmp(path, below, below_len);
}

static int is_ours(int fd) {
    return control && fd >= 0 && fd < FDS && ours[fd];
}

/* The fault for this call: 0 none, FAIL (errno is set), KILL_AFTER, KILL_HALF. */
static int befalls(long call) {
    if (!control || inside || !(control->calls & call)) return 0;
    atomic_fetch_add(&control->counted, 1);
    if (control->countdown <= 0) return 0;
    if (atomic_fetch_sub(&control->countdown, 1) > 1) return 0;
    if (atomic_fetch_sub(&control->times, 1) > 1) atomic_store(&control->countdown, 1);
    atomic_fetch_add(&control->happened, 1);
    long action = control->action, value = control->value;
    if (action == KILL_BEFORE) die();
    if (action == DELAY) {
        struct timespec some = { value / 1000, value % 1000 * 1000000 };
        nanosleep(&some, NULL);
        return 0;
    }
    if (action == FAIL) errno = (int)value;
    return (int)action;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define PLAIN(condition, call, expression)            \
    int what = (condition) ? befalls(call) : 0;       \
    if (what == FAIL) return -1;                      \
    __typeof__(expression) result = (expression);     \
    if (what == KILL_AFTER || what == KILL_HALF) die(); \
    return result

static int opened(int fd, int mine) {
    if (fd >= 0 && fd < FDS) ours[fd] = (char)mine;
    return fd;
}

#define OPENS(name)                                                       \
    int name(const char *path, int flags, ...) {                          \
        REAL(name);                                                       \
        va_list list;                                                     \
        va_start(list, flags);                                            \
        mode_t mode = (flags & O_CREAT) ? va_arg(list, mode_t) : 0;       \
        va_end(list);                                                     \
        int mine = is_below(path), what = mine ? befalls(OPEN) : 0;       \
        if (what == FAIL) return -1;                                      \
        int fd = opened(real(path, flags, mode), mine);                   \
        if (what == KILL_AFTER || what == KILL_HALF) die();               \
        return fd;                                                        \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                    \
    int name(int at, const char *path, int flags, ...) {                  \
        REAL(name);                                                       \
        va_list list;                                                     \
        va_start(list, flags);                                            \
        mode_t mode = (flags & O_CREAT) ? va_arg(list, mode_t) : 0;       \
        va_end(list);                                                     \
        int mine = is_below(path) || is_ours(at);                         \
        int what = mine ? befalls(OPEN) : 0;                              \
        if (what == FAIL) return -1;                                      \
        int fd = opened(real(at, path, flags, mode), mine);               \
        if (what == KILL_AFTER || what == KILL_HALF) die();               \
        return fd;                                                        \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

int close(int fd) {
    REAL(close);
    opened(fd, 0);
    return real(fd);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    int what = is_ours(fd) ? befalls(WRITE) : 0;
    if (what == FAIL) return -1;
    ssize_t result = real(fd, bytes, what == KILL_HALF ? count / 2 : count);
    if (what == KILL_AFTER || what == KILL_HALF) die();
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    int what = is_ours(fd) ? befalls(WRITE) : 0;
    if (what == FAIL) return -1;
    if (what == KILL_HALF && count > 0) {
        struct iovec half = { parts[0].iov_base, (parts[0].iov_len + 1) / 2 };
        real(fd, &half, 1);
        die();
    }
    ssize_t result = real(fd, parts, count);
    if (what == KILL_AFTER) die();
    return result;
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    REAL(pread64);
    PLAIN(is_ours(fd), READ, real(fd, bytes, count, at));
}

int fdatasync(int fd) {
    REAL(fdatasync);
    PLAIN(is_ours(fd), SYNC, real(fd));
}

int fsync(int fd) {
    REAL(fsync);
    PLAIN(is_ours(fd), SYNC, real(fd));
}

int rename(const char *from, const char *to) {
    REAL(rename);
    PLAIN(is_below(from), RENAME, real(from, to));
}

int unlink(const char *path) {
    REAL(unlink);
    PLAIN(is_below(path), UNLINK, real(path));
}

int rmdir(const char *path) {
    REAL(rmdir);
    PLAIN(is_below(path), UNLINK, real(path));
}

int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    PLAIN(is_below(path) || is_ours(at), UNLINK, real(at, path, flags));
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    PLAIN(is_below(path), MKDIR, real(path, mode));
}

int ftruncate64(int fd, off64_t to) {
    REAL(ftruncate64);
    PLAIN(is_ours(fd), TRUNCATE, real(fd, to));
}

int ftruncate(int fd, off_t to) {
    REAL(ftruncate);
    PLAIN(is_ours(fd), TRUNCATE, real(fd, to));
}

int accept4(int fd, struct sockaddr *from, socklen_t *len, int flags) {
    REAL(accept4);
    PLAIN(1, ACCEPT, real(fd, from, len, flags));
}
