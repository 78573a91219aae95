/* Stands between a process and its files: writes down, or has fail, what is done to the files of one directory.
 *
 * FAULTS_DIR   the directory
 * FAULTS_LOG   where it is written down: records of kind, result, length of the path, offset and length of the data as 8 bytes each,
 *              then the path, then the data
 * FAULTS_AT    the number of the operation that fails, from 1
 * FAULTS_TIMES how many fail from there on
 * FAULTS_ERROR with which error
 *
 * What happens to the file `acks` is written down, and never fails.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 3, UNLINK = 4 };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static const char *directory;
static int record = -1;
static long at, times, error_number, operation;

__attribute__((constructor)) static void prepare(void) {
    directory = getenv("FAULTS_DIR");
    const char *log = getenv("FAULTS_LOG");
    if (log) record = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (getenv("FAULTS_AT")) at = atol(getenv("FAULTS_AT"));
    times = getenv("FAULTS_TIMES") ? atol(getenv("FAULTS_TIMES")) : 1;
    error_number = getenv("FAULTS_ERROR") ? atol(getenv("FAULTS_ERROR")) : EIO;
}

static void put(const void *bytes, size_t length) {
    const char *from = bytes;
    while (length > 0) {
        long done = syscall(SYS_write, record, from, length);
        if (done <= 0) abort();
        from += done;
        length -= (size_t)done;
    }
}

static void put_record(uint64_t kind, uint64_t result, const char *path, uint64_t offset, const void *data, uint64_t length) {
    if (record < 0) return;
    uint64_t head[5] = {kind, result, strlen(path), offset, length};
    put(head, sizeof head);
    put(path, head[2]);
    if (data) put(data, length);
}

/* The path of an open file below the directory, or 0. */
static const char *path_of(int fd, char *room, size_t size) {
    char link[64];
    if (!directory) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, room, size - 1);
    if (length <= 0) return 0;
    room[length] = 0;
    if (strncmp(room, directory, strlen(directory)) != 0 || strstr(room, "-shm") || strstr(room, "-owners")) return 0;
    return room;
}

static int is_acks(const char *path) {
    size_t length = strlen(path);
    return length >= 5 && strcmp(path + length - 5, "/acks") == 0;
}

/* Whether this operation is one of those that fail. */
static int fails(const char *path) {
    if (is_acks(path)) return 0;
    operation++;
    return at > 0 && operation >= at && operation < at + times;
}

static ssize_t written(int fd, const void *data, size_t length, off_t offset, int positioned) {
    char room[4096];
    const char *path = path_of(fd, room, sizeof room);
    if (!path) return positioned ? syscall(SYS_pwrite64, fd, data, length, offset) : syscall(SYS_write, fd, data, length);
    pthread_mutex_lock(&turn);
    if (!positioned) offset = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    size_t room_left = length;
    int failed = fails(path);
    /* Of a write that fails the first half is there. */
    if (failed) room_left = length / 2;
    ssize_t done = 0;
    if (room_left > 0) {
        done = positioned ? syscall(SYS_pwrite64, fd, data, room_left, offset) : syscall(SYS_write, fd, data, room_left);
    }
    int error = errno;
    if (done > 0) put_record(WRITE, 0, path, (uint64_t)offset, data, (uint64_t)done);
    pthread_mutex_unlock(&turn);
    errno = failed ? (int)error_number : error;
    return failed ? -1 : done;
}

ssize_t write(int fd, const void *data, size_t length) { return written(fd, data, length, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return written(fd, data, length, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { return written(fd, data, length, offset, 1); }

static int synced(int fd, long call) {
    char room[4096];
    const char *path = path_of(fd, room, sizeof room);
    if (!path) return (int)syscall(call, fd);
    pthread_mutex_lock(&turn);
    int failed = fails(path);
    put_record(SYNC, (uint64_t)failed, path, 0, 0, 0);
    pthread_mutex_unlock(&turn);
    /* The files are thrown away: what would reach the disk is worked out from the record. */
    if (failed) errno = (int)error_number;
    return failed ? -1 : 0;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int truncated(int fd, off_t length) {
    char room[4096];
    const char *path = path_of(fd, room, sizeof room);
    if (!path) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&turn);
    int failed = fails(path);
    int done = failed ? -1 : (int)syscall(SYS_ftruncate, fd, length);
    if (!failed) put_record(TRUNCATE, 0, path, (uint64_t)length, 0, 0);
    pthread_mutex_unlock(&turn);
    if (failed) errno = (int)error_number;
    return done;
}

int ftruncate(int fd, off_t length) { return truncated(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

int unlink(const char *path) {
    if (!directory || strncmp(path, directory, strlen(directory)) != 0 || strstr(path, "-shm") || strstr(path, "-owners")) {
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    }
    pthread_mutex_lock(&turn);
    int failed = fails(path);
    int done = failed ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (done == 0) put_record(UNLINK, 0, path, 0, 0, 0);
    int error = errno;
    pthread_mutex_unlock(&turn);
    errno = failed ? (int)error_number : error;
    return done;
}
