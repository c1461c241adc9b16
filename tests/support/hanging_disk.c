/* Preloaded into a worker: a disk that hangs for ever, where and when a test says so. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void hang(void) {
    for (;;) pause();
}

/* A file of this name cannot be removed. */
int unlinkat(int folder, const char *path, int flags) {
    static int (*real)(int, const char *, int);
    if (strcmp(path, "hangs") == 0) hang();
    if (!real) real = (int (*)(int, const char *, int))dlsym(RTLD_NEXT, "unlinkat");
    return real(folder, path, flags);
}

/* Nothing reaches the disk once the file named by SUITE_DISK_HANGS is there. */
int fdatasync(int file) {
    static int (*real)(int);
    const char *sign = getenv("SUITE_DISK_HANGS");
    if (sign && access(sign, F_OK) == 0) hang();
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(file);
}
