/* Counts the calls of this process that change files below a prefix, and makes one of them go
 * wrong: it fails with an error number, or the process dies before, in the middle of, or after it.
 * Loaded with LD_PRELOAD; passes everything on until it is armed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OFF, COUNT, FAIL, FAIL_FROM, BEFORE, AFTER, TEAR };

static int mode = OFF, number = 0, log_fd = -1;
static long chosen = 0;
static char prefix[PATH_MAX];
static atomic_long calls;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Armed after the fork, by Python: which call (from 1), what happens, below which folder. */
void faults_arm(const char *below, int how, long which, int what, int log)
{
    snprintf(prefix, sizeof prefix, "%s", below);
    number = what, chosen = which, log_fd = log;
    atomic_store(&calls, 0);
    mode = how;
}

/* A process that a trial starts is armed by its environment: worker processes of a sweep. */
__attribute__((constructor)) static void arm_by_environment(void)
{
    const char *below = getenv("FAULTS_BELOW");
    if (below) faults_arm(below, BEFORE, 1, SIGKILL, -1);
}

static void stop(void)
{
    kill(getpid(), number);
    if (number == SIGKILL) for (;;) pause();
}

static int path_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return size > 0;
}

static void whole_path(int folder, const char *name, char *path)
{
    path[0] = 0;
    if (name[0] != '/') {
        if (folder == AT_FDCWD ? !getcwd(path, PATH_MAX) : !path_of(folder, path)) return;
        strncat(path, "/", PATH_MAX - strlen(path) - 1);
    }
    strncat(path, name, PATH_MAX - strlen(path) - 1);
}

/* What becomes of this call: -1 = it is done as asked, and what then; or an error number. */
enum { PASS = -1, THEN_STOP = -2, HALF_STOP = -3 };

static int verdict(const char *kind, const char *path)
{
    if (strncmp(path, prefix, strlen(prefix))) return PASS;
    long call = atomic_fetch_add(&calls, 1) + 1;
    if (log_fd >= 0) {
        static ssize_t (*put)(int, const void *, size_t);
        if (!put) put = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
        char line[PATH_MAX + 32];
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int size = snprintf(line, sizeof line, "%ld.%06ld %s %s\n", (long)now.tv_sec,
                            now.tv_nsec / 1000, kind, path + strlen(prefix));
        if (put(log_fd, line, size) < 0) _exit(99);
    }
    if (mode == FAIL && call == chosen) return number;
    if (mode == FAIL_FROM && call >= chosen && strcmp(kind, "unlink")) return number;
    if (call != chosen) return PASS;
    if (mode == BEFORE) stop();
    if (mode == AFTER) return THEN_STOP;
    if (mode == TEAR) return HALF_STOP;
    return PASS;
}

static int verdict_at(const char *kind, int folder, const char *name)
{
    char path[PATH_MAX];
    if (mode == OFF) return PASS;
    whole_path(folder, name, path);
    return verdict(kind, path);
}

static int verdict_fd(const char *kind, int fd)
{
    char path[PATH_MAX];
    if (mode == OFF || fd == log_fd || !path_of(fd, path)) return PASS;
    return verdict(kind, path);
}

#define DO(found, bad, call) \
    int v = found; \
    if (v >= 0) { errno = v; return bad; } \
    __typeof__(call) result = call; \
    if (v == THEN_STOP || v == HALF_STOP) stop(); \
    return result

ssize_t write(int fd, const void *from, size_t size)
{
    REAL(write);
    int torn = verdict_fd("write", fd);
    DO(torn, -1, real(fd, from, torn == HALF_STOP ? size / 2 : size));
}
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at)
{
    REAL(pwrite64);
    int torn = verdict_fd("write", fd);
    DO(torn, -1, real(fd, from, torn == HALF_STOP ? size / 2 : size, at));
}
ssize_t writev(int fd, const struct iovec *from, int count)
{
    REAL(writev);
    int torn = verdict_fd("write", fd);
    DO(torn, -1, real(fd, from, torn == HALF_STOP ? 1 : count));
}
int fsync(int fd) { REAL(fsync); DO(verdict_fd("fsync", fd), -1, real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); DO(verdict_fd("fsync", fd), -1, real(fd)); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); DO(verdict_fd("truncate", fd), -1, real(fd, size)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); DO(verdict_fd("truncate", fd), -1, real(fd, size)); }
int rename(const char *old, const char *new)
{
    REAL(rename);
    DO(verdict_at("rename", AT_FDCWD, new), -1, real(old, new));
}
int renameat(int from, const char *old, int to, const char *new)
{
    REAL(renameat);
    DO(verdict_at("rename", to, new), -1, real(from, old, to, new));
}
int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    REAL(renameat2);
    DO(verdict_at("rename", to, new), -1, real(from, old, to, new, flags));
}
int link(const char *old, const char *new) { REAL(link); DO(verdict_at("link", AT_FDCWD, new), -1, real(old, new)); }
/* A folder that is there already is not made: libraries ask for it before every file. */
int mkdir(const char *path, mode_t bits)
{
    REAL(mkdir);
    DO(access(path, F_OK) ? verdict_at("mkdir", AT_FDCWD, path) : PASS, -1, real(path, bits));
}
int mkdirat(int at, const char *path, mode_t bits)
{
    REAL(mkdirat);
    DO(faccessat(at, path, F_OK, 0) ? verdict_at("mkdir", at, path) : PASS, -1, real(at, path, bits));
}
int unlink(const char *path) { REAL(unlink); DO(verdict_at("unlink", AT_FDCWD, path), -1, real(path)); }
int unlinkat(int at, const char *path, int flags) { REAL(unlinkat); DO(verdict_at("unlink", at, path), -1, real(at, path, flags)); }
int rmdir(const char *path) { REAL(rmdir); DO(verdict_at("unlink", AT_FDCWD, path), -1, real(path)); }

#define CHANGES(flags) ((flags) & (O_CREAT | O_TRUNC))
#define BITS \
    mode_t bits = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); bits = va_arg(rest, mode_t); va_end(rest); }
#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { REAL(name); BITS DO(CHANGES(flags) ? verdict_at("open", AT_FDCWD, path) : PASS, -1, real(path, flags, bits)); }
#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) \
    { REAL(name); BITS DO(CHANGES(flags) ? verdict_at("open", at, path) : PASS, -1, real(at, path, flags, bits)); }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *how) \
    { REAL(name); DO(strpbrk(how, "wa+") ? verdict_at("open", AT_FDCWD, path) : PASS, NULL, real(path, how)); }
FOPEN(fopen)
FOPEN(fopen64)
