/* An init that says what the second archive brought, and ends the machine. */
#include <stdio.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
	char line[80] = "";
	struct stat program, session;
	FILE *file = fopen("/stiefelsystem/session", "r");

	if (file && fgets(line, sizeof(line), file) &&
	    stat("/stiefelsystem/session", &session) == 0 &&
	    stat("/stiefelsystem/stiefel-link", &program) == 0)
		printf("found %o %o %lld: %s\n", session.st_mode, program.st_mode,
		       (long long)program.st_size, line);
	else
		printf("found nothing\n");
	fflush(stdout);
	sync();
	sleep(1);
	return reboot(RB_POWER_OFF);
}
