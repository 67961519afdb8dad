/* Preloaded into a process: after each fsync, write the file's path and size to $SYNC_LOG. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int logged(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(fd);
    char link[64], path[4096], line[4300];
    struct stat info;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    const char *log = getenv("SYNC_LOG");
    if (result == 0 && log && length > 0 && fstat(fd, &info) == 0) {
        path[length] = 0;
        int out = open(log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        int size = snprintf(line, sizeof line, "sync %s %lld\n", path, (long long)info.st_size);
        if (out >= 0 && write(out, line, size) != size) abort();
        if (out >= 0) close(out);
    }
    return result;
}

int fsync(int fd) { return logged("fsync", fd); }
int fdatasync(int fd) { return logged("fdatasync", fd); }
