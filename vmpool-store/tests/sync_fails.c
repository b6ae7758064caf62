/* The disk fails as long as the file that VMPOOL_TEST_SYNC_FAILS names is
 * there, once if it is empty: what was written is in the system's memory then,
 * and nothing says that it is on the disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(void) {
    const char *path = getenv("VMPOOL_TEST_SYNC_FAILS");
    struct stat found;
    if (path == NULL || stat(path, &found) != 0)
        return 0;
    if (found.st_size == 0)
        unlink(path);
    errno = EIO;
    return 1;
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails() ? -1 : real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails() ? -1 : real(fd);
}
