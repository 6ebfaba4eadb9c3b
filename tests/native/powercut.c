/* A disk that forgets, for LD_PRELOAD: beside a folder it keeps what would be left of it after a power cut.
 *
 *   POWERCUT_LIVE   the folder (absolute, without symbolic links); other files are left alone
 *   POWERCUT_KEPT   where what was synchronised is kept; powercut.py makes a folder of it after the cut
 *
 * What is kept is what POSIX promises and no more. fsync or fdatasync of a file keeps its content as it is then (under
 * KEPT/files/<inode>-<birth time>); fsync of a directory keeps its names as they are then (KEPT/names/<the same>, "root"
 * for the folder itself; a line is "f or d<TAB>file<TAB>name"). What was written and not synchronised is gone, and so is
 * a new file, a rename and a deletion whose directory was not. sync, syncfs and O_SYNC do not occur and are not followed.
 *
 * A copy is made before the real call and put in place by a rename: a process killed in between has synchronised nothing
 * that it was told of. Errors end the process: a witness that fails must not be believed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void give_up(const char *what) {
  perror(what);
  _exit(99);
}

/* Whether the descriptor is of something in the folder (or the folder itself). */
static int is_watched(int descriptor, char path[PATH_MAX]) {
  const char *live = getenv("POWERCUT_LIVE");
  char link[64];
  if (live == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = 0;
  size_t root = strlen(live);
  return strncmp(path, live, root) == 0 && (path[root] == 0 || path[root] == '/');
}

/* An inode's number is used again for the next file; its birth time tells them apart. */
static char kind_of(int descriptor, const char *path, int flags, char name[64]) {
  struct statx about;
  unsigned wanted = STATX_TYPE | STATX_INO | STATX_BTIME;
  if (statx(descriptor, path, flags | AT_SYMLINK_NOFOLLOW, wanted, &about) != 0) {
    if (errno == ENOENT) return 0; /* deleted meanwhile by another thread */
    give_up("powercut: statx");
  }
  snprintf(name, 64, "%llu-%lld.%u", (unsigned long long)about.stx_ino, (long long)about.stx_btime.tv_sec,
           about.stx_btime.tv_nsec);
  return S_ISDIR(about.stx_mode) ? 'd' : 'f';
}

/* For powercut.py, which has no other way to a birth time. */
void powercut_key(const char *path, char name[64]) { kind_of(AT_FDCWD, path, 0, name); }

/* Open the file that a copy is written to, by this thread alone; finish puts it in its place. */
static int create(const char *name, char temporary[PATH_MAX]) {
  snprintf(temporary, PATH_MAX, "%s/%s.%d.new", getenv("POWERCUT_KEPT"), name, gettid());
  int copy = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (copy < 0) give_up("powercut: open");
  return copy;
}

static void finish(int copy, const char *temporary, const char *kind, const char *name) {
  char final[PATH_MAX];
  snprintf(final, sizeof final, "%s/%s/%s", getenv("POWERCUT_KEPT"), kind, name);
  if (close(copy) != 0 || rename(temporary, final) != 0) give_up("powercut: rename");
}

static void keep_file(int descriptor) {
  static __thread char block[1 << 16];
  char name[64], temporary[PATH_MAX], link[64];
  kind_of(descriptor, "", AT_EMPTY_PATH, name);
  int copy = create(name, temporary), from = descriptor;
  /* Through the same descriptor where it reads: closing a second one would drop SQLite's locks on the file. */
  if ((fcntl(descriptor, F_GETFL) & O_ACCMODE) == O_WRONLY) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    if ((from = open(link, O_RDONLY | O_CLOEXEC)) < 0) give_up("powercut: open");
  }
  ssize_t count;
  for (off_t at = 0; (count = pread(from, block, sizeof block, at)) > 0; at += count)
    if (write(copy, block, (size_t)count) != count) give_up("powercut: write");
  if (count < 0) give_up("powercut: read");
  if (from != descriptor) close(from);
  finish(copy, temporary, "files", name);
}

static void keep_names(int descriptor, int is_root) {
  char folder_name[64], name[64], temporary[PATH_MAX], line[PATH_MAX + 80];
  kind_of(descriptor, "", AT_EMPTY_PATH, folder_name);
  int copy = create(folder_name, temporary);
  int again = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *folder = again < 0 ? NULL : fdopendir(again);
  if (folder == NULL) give_up("powercut: opendir");
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char kind = kind_of(descriptor, entry->d_name, 0, name);
    if (kind == 0) continue;
    int length = snprintf(line, sizeof line, "%c\t%s\t%s\n", kind, name, entry->d_name);
    if (write(copy, line, (size_t)length) != length) give_up("powercut: write");
  }
  closedir(folder);
  finish(copy, temporary, "names", is_root ? "root" : folder_name);
}

static void keep(int descriptor) {
  char path[PATH_MAX];
  struct stat about;
  if (!is_watched(descriptor, path) || fstat(descriptor, &about) != 0) return;
  if (S_ISDIR(about.st_mode))
    keep_names(descriptor, strcmp(path, getenv("POWERCUT_LIVE")) == 0);
  else if (S_ISREG(about.st_mode))
    keep_file(descriptor);
}

int fsync(int descriptor) {
  keep(descriptor);
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  return real(descriptor);
}

int fdatasync(int descriptor) {
  keep(descriptor);
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  return real(descriptor);
}
