/* The init of a small OS, which tells what its disk has promised, and later whether it was kept.
 *
 * On each of the filesystems ext4, xfs and btrfs (one is the root, the others are found by their
 * label) it appends numbered records to a file. A number is told on the console only when fsync has
 * returned. With the word `verify` on the kernel's command line, it tells instead how many records
 * are there, from the first one without a gap. Every line ends with a full stop: one that is mixed
 * up with others, on a console, is no line. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define RECORD_SIZE 4096
#define PERIOD_MS 100
/* A write that takes longer is told. */
#define STALL_MS 2000
#define MIB (1024 * 1024)
/* What is left to everybody by who takes the memory away, in KiB. */
#define LEFT_KIB (32 * 1024)
/* And what he writes to each of the filesystems then: more than that altogether. */
#define MUCH_KIB (16 * 1024)

#define LINK "/run/initramfs/stiefelsystem/stiefel-link"

static const char *const kinds[] = {"ext4", "xfs", "btrfs"};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

struct record {
	char kind[8];
	uint64_t number;
	uint64_t filler[RECORD_SIZE / 8 - 3];
	uint64_t sum;
};

static pid_t writers[KINDS], presser;

/* One line in one write. */
static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void tell(const char *format, ...)
{
	char line[256];
	va_list values;
	int length;

	va_start(values, format);
	length = vsnprintf(line, sizeof(line) - 2, format, values);
	va_end(values);
	strcpy(line + length, "\n");
	if (write(STDOUT_FILENO, line, (size_t)length + 1) < 0)
		_exit(1);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* FNV-1a, by words: it has to find what is old, torn or of another place, not what is forged. */
static uint64_t sum_of(const struct record *record)
{
	const uint64_t *words = (const uint64_t *)record;
	uint64_t sum = 14695981039346656037u;

	for (size_t i = 0; i < RECORD_SIZE / 8 - 1; i++)
		sum = (sum ^ words[i]) * 1099511628211u;
	return sum;
}

static void make(struct record *record, const char *kind, uint64_t number)
{
	uint64_t state = number + 1;

	memset(record, 0, sizeof(*record));
	snprintf(record->kind, sizeof(record->kind), "%s", kind);
	record->number = number;
	for (size_t i = 0; i < sizeof(record->filler) / 8; i++) {
		state ^= state << 13; /* xorshift64 */
		state ^= state >> 7;
		state ^= state << 17;
		record->filler[i] = state;
	}
	record->sum = sum_of(record);
}

/* How many records a log has, from the first one on, each whole and in its place. */
static uint64_t whole(int log, const char *kind)
{
	struct record record;
	uint64_t number = 0;

	while (pread(log, &record, RECORD_SIZE, (off_t)(number * RECORD_SIZE)) == RECORD_SIZE &&
	       strncmp(record.kind, kind, sizeof(record.kind)) == 0 && record.number == number &&
	       record.sum == sum_of(&record))
		number++;
	return number;
}

/* Append to a log for ever, behind what is whole of it. */
static void log_on(int log, const char *kind)
{
	uint64_t number = whole(log, kind);
	struct record record;

	tell("%s goes on with %llu.", kind, (unsigned long long)number);
	for (;; number++) {
		int64_t begun = now_ms(), taken;

		make(&record, kind, number);
		if (pwrite(log, &record, RECORD_SIZE, (off_t)(number * RECORD_SIZE)) != RECORD_SIZE ||
		    fsync(log) < 0) {
			tell("%s fails: %s.", kind, strerror(errno));
			_exit(1);
		}
		taken = now_ms() - begun;
		tell("%s has %llu.", kind, (unsigned long long)number);
		if (taken > STALL_MS)
			tell("%s stalled for %lld.%lld s.", kind, (long long)taken / 1000,
			     (long long)taken % 1000 / 100);
		usleep(PERIOD_MS * 1000);
	}
}

/* Whether a filesystem of this kind is the root: its line in mounts is "DEVICE / KIND ...". */
static bool is_root(const char *kind)
{
	char line[512], place[256], type[32];
	FILE *mounts = fopen("/proc/mounts", "re");
	bool found = false;

	while (mounts && fgets(line, sizeof(line), mounts))
		found = found || (sscanf(line, "%*s %255s %31s", place, type) == 2 &&
				  strcmp(place, "/") == 0 && strcmp(type, kind) == 0);
	if (mounts)
		fclose(mounts);
	return found;
}

static void path_of(char *path, size_t size, const char *kind, const char *name)
{
	snprintf(path, size, "%s%s/%s", is_root(kind) ? "" : "/mnt/", is_root(kind) ? "" : kind, name);
}

/* Mount a filesystem, unless it is the root, and open a file of it. Returns -1 if it cannot. */
static int open_in(const char *kind, const char *name, int flags)
{
	char path[64];

	path_of(path, sizeof(path), kind, name);
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
}

static void mount_all(void)
{
	char device[64], place[64];

	if (mount(NULL, "/", NULL, MS_REMOUNT, NULL) < 0)
		tell("root fails: %s.", strerror(errno));
	for (int i = 0; i < KINDS; i++) {
		snprintf(device, sizeof(device), "/dev/disk/by-label/%s", kinds[i]);
		snprintf(place, sizeof(place), "/mnt/%s", kinds[i]);
		if (!is_root(kinds[i]) && mount(device, place, kinds[i], 0, NULL) < 0)
			tell("%s fails: %s.", kinds[i], strerror(errno));
	}
}

static void unmount_all(void)
{
	char place[64];

	sync();
	for (int i = 0; i < KINDS; i++) {
		snprintf(place, sizeof(place), "/mnt/%s", kinds[i]);
		if (!is_root(kinds[i]) && umount(place) < 0)
			tell("%s fails: %s.", kinds[i], strerror(errno));
	}
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		tell("root fails: %s.", strerror(errno));
}

static void verify(void)
{
	for (int i = 0; i < KINDS; i++) {
		int log = open_in(kinds[i], "log", 0);

		tell("%s holds %llu.", kinds[i],
		     log < 0 ? 0 : (unsigned long long)whole(log, kinds[i]));
		close(log);
	}
}

static void start_writers(void)
{
	for (int i = 0; i < KINDS; i++) {
		writers[i] = fork();
		if (writers[i] == 0) {
			int log = open_in(kinds[i], "log", 0);

			if (log >= 0)
				log_on(log, kinds[i]);
			tell("%s fails: %s.", kinds[i], strerror(errno));
			_exit(1);
		}
	}
}

static void stop_writers(void)
{
	for (int i = 0; i < KINDS; i++) {
		kill(writers[i], SIGTERM);
		waitpid(writers[i], NULL, 0);
	}
	/* No others: the link keeper is our child by now. */
	if (presser > 0)
		waitpid(presser, NULL, 0);
}

static long available_kib(void)
{
	char line[128];
	long kib = 0;
	FILE *info = fopen("/proc/meminfo", "re");

	while (info && fgets(line, sizeof(line), info))
		sscanf(line, "MemAvailable: %ld", &kib);
	if (info)
		fclose(info);
	return kib;
}

static void set(const char *path, const char *value)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);

	if (file < 0 || write(file, value, strlen(value)) < 0)
		tell("%s fails: %s.", path, strerror(errno));
	close(file);
}

/* Take nearly all memory, and then write, without fsync, more than is left: without a disk, that
 * does not end. */
static void press(void)
{
	static char block[64 * 1024];

	/* The kernel would hold who writes back early. */
	set("/proc/sys/vm/dirty_background_ratio", "80");
	set("/proc/sys/vm/dirty_ratio", "90");
	set("/proc/self/oom_score_adj", "1000");
	while (available_kib() > LEFT_KIB) {
		char *memory = malloc(MIB);

		if (!memory)
			break;
		memset(memory, 1, MIB);
	}
	tell("memory is short: %ld KiB.", available_kib());
	for (int i = 0; i < KINDS; i++) {
		int file = open_in(kinds[i], "much", O_TRUNC);

		for (size_t done = 0; done < MUCH_KIB * 1024ul; done += sizeof(block))
			if (write(file, block, sizeof(block)) != (ssize_t)sizeof(block)) {
				tell("%s fails: %s.", kinds[i], strerror(errno));
				_exit(1);
			}
		close(file);
		tell("%s has got much: %ld KiB.", kinds[i], available_kib());
	}
	_exit(0);
}

static void set_clock(long seconds)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += seconds;
	if (clock_settime(CLOCK_REALTIME, &now) < 0)
		tell("clock fails: %s.", strerror(errno));
	else
		tell("clock is set to %lld.", (long long)now.tv_sec);
}

/* Run the link keeper, with its output on the console; its status. */
static int ask_link(const char *request)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		execl(LINK, "stiefel-link", request, (char *)NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void end(void)
{
	stop_writers();
	unmount_all();
	tell("end of session: %d.", ask_link("end"));
	reboot(RB_POWER_OFF);
}

static void obey(const char *order)
{
	if (strncmp(order, "clock ", 6) == 0)
		set_clock(strtol(order + 6, NULL, 10));
	else if (strcmp(order, "press") == 0 && (presser = fork()) == 0)
		press();
	else if (strcmp(order, "status") == 0)
		tell("status: %d.", ask_link("status"));
	else if (strcmp(order, "end") == 0)
		end();
}

static void quiet_console(void)
{
	struct termios settings;

	if (tcgetattr(STDIN_FILENO, &settings) == 0) {
		settings.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSANOW, &settings);
	}
}

static bool has_word(const char *word)
{
	char line[4096] = "";
	FILE *file = fopen("/proc/cmdline", "re");
	bool found = file && fgets(line, sizeof(line), file) && strstr(line, word);

	if (file)
		fclose(file);
	return found;
}

int main(void)
{
	char order[64];

	quiet_console();
	mount_all();
	if (has_word(" verify")) {
		verify();
		unmount_all();
		reboot(RB_POWER_OFF);
	}
	start_writers();
	while (fgets(order, sizeof(order), stdin)) {
		order[strcspn(order, "\n")] = '\0';
		obey(order);
	}
	tell("console fails.");
	for (;;)
		pause();
}
