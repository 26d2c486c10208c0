"""What config.yaml is refused for: with the line, the path, the value, and what would be right."""

from __future__ import annotations

import pytest

from tests.unit.one_config import MINIMAL, assert_refused


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        # keys
        (
            "  part:\n    typ: luks\n",
            "5: boot.part.typ: unknown key",
            "did you mean boot.part.type?",
        ),
        (
            "autokexec:\n  mac-detection: true\n",
            "5: autokexec.mac-detection: unknown key",
            "did you mean autokexec.mac_detection?",
        ),
        ("server_setup: {}\n", "4: server_setup: unknown key", "did you mean server-setup?"),
        (
            "compressor: gzip\n",
            "4: compressor: unknown key",
            "did you mean initrd.packing.compressor?",
        ),
        (
            "cmdline: x\n",
            "4: cmdline: unknown key",
            "did you mean boot.cmdline or boot.load.cmdline or server-setup.cmdline"
            " or client-setup.cmdline?",
        ),
        (
            "  load:\n    qqq: 1\n",
            "5: boot.load.qqq: unknown key",
            "the keys here are: kernel, initrd, cmdline",
        ),
        (
            "  <<: {disk: /dev/sdb}\n",
            "4: boot.<<: unknown key",
            "the keys here are: disk, part, cmdline, swap, load",
        ),
        ("  disk: /dev/sdb\n", "4: boot.disk: stands there twice", "the first is in line 3"),
        ("  [a]: b\n", "4: boot: a list stands where a key should", ""),
        (
            "  part: {type: plain}\n",
            "4: boot.part.block: is missing",
            "config-example.yaml says what it is for",
        ),
        # types
        (
            "paths: [a]\n",
            "4: paths: a list is not a section of keys and values",
            "its keys are: cache, workdir, key, workdir-subpaths",
        ),
        (
            "initrd: vim\n",
            "4: initrd: 'vim' is not a section of keys and values",
            "its keys are: include-packages, shell, password, packing",
        ),
        (
            "autokexec:\n  macs: 00:11:22:33:44:55\n",
            "5: autokexec.macs: '00:11:22:33:44:55' is not a list",
            "write [00:11:22:33:44:55]",
        ),
        (
            "autokexec:\n  broadcast: treu\n",
            "5: autokexec.broadcast: 'treu' is not true or false",
            "did you mean true?",
        ),
        (
            "autokexec:\n  broadcast: 'no'\n",
            "5: autokexec.broadcast: 'no' is not true or false",
            "write it without quotes",
        ),
        ("autokexec:\n  broadcast: 1\n", "5: autokexec.broadcast: 1 is not true or false", ""),
        (
            "autokexec:\n  broadcast: [on]\n",
            "5: autokexec.broadcast: a list is not true or false",
            "",
        ),
        (
            "autokexec:\n  delay: '10'\n",
            "5: autokexec.delay: '10' is not a whole number",
            "write it without quotes",
        ),
        ("autokexec:\n  delay: 1.5\n", "5: autokexec.delay: 1.5 is not a whole number", ""),
        ("autokexec:\n  delay: 1:30\n", "5: autokexec.delay: 1:30 is not a whole number", ""),
        ("autokexec:\n  delay: 010\n", "5: autokexec.delay: 010 is not a whole number", ""),
        ("autokexec:\n  delay: true\n", "5: autokexec.delay: true is not a whole number", ""),
        ("server:\n  wait: 29\n", "5: server.wait: 29 is not within 30 and 1000000", ""),
        ("server:\n  wait: 10 min\n", "5: server.wait: '10 min' is not a whole number", ""),
        (
            "server:\n  after_session: wait\n",
            "5: server.after_session: unknown key",
            "did you mean server.after-session?",
        ),
        (
            "server:\n  after-session: halt\n",
            "5: server.after-session: 'halt' is not a valid choice",
            "choose one of: reboot, wait, poweroff",
        ),
        (
            "link:\n  encryption: wiregard\n",
            "5: link.encryption: 'wiregard' is not a valid choice",
            "did you mean wireguard?",
        ),
        (
            "link:\n  encryption: no\n",
            "5: link.encryption: no is a yes or no to YAML, not a text",
            'put it in quotes: "no"',
        ),
        ("  swap: 1\n", "4: boot.swap: 1 is not true or false", ""),
        ("initrd:\n  shell: {}\n", "5: initrd.shell: a section is not a text", ""),
        (
            "initrd:\n  shell: yes\n",
            "5: initrd.shell: yes is a yes or no to YAML, not a text",
            'put it in quotes: "yes"',
        ),
        (
            "  cmdline: 2024-01-01\n",
            "4: boot.cmdline: 2024-01-01 is a date to YAML, not a text",
            'put it in quotes: "2024-01-01"',
        ),
        (
            "initrd:\n  include-packages:\n  - vim\n  -\n",
            "7: initrd.include-packages[1]: nothing is not a text",
            "",
        ),
        (
            "initrd:\n  include-packages: [[vim]]\n",
            "5: initrd.include-packages[0]: a list is not a text",
            "",
        ),
        # passwords are not shown
        (
            "initrd:\n  password: 1234\n",
            "5: initrd.password: the value is a number to YAML, not a text",
            'put it in quotes: "…"',
        ),
        (
            "initrd:\n  password: 'a\tb'\n",
            "5: initrd.password: the value contains a line break or an invisible character",
            "",
        ),
        (
            "initrd:\n  password: ''\n",
            "5: initrd.password: the value is empty",
            "null: nobody logs in with a password",
        ),
        # values
        (
            "  part:\n    type: lusk\n    block: /dev/sda2\n",
            "5: boot.part.type: 'lusk' is not a valid choice",
            "did you mean luks?",
        ),
        (
            "  part: sda2\n",
            "4: boot.part: 'sda2' is not an absolute path",
            "write it with all folders, from / on",
        ),
        ("  part: 2\n", "4: boot.part: 2 is a number to YAML, not a text", 'put it in quotes: "2"'),
        (
            "  part: /dev/../x\n",
            "4: boot.part: '/dev/../x' contains '..'",
            "write the path that is really meant",
        ),
        (
            "  part: /dev/disk/by-label/a b\n",
            "4: boot.part: '/dev/disk/by-label/a b' contains a blank or a quote",
            "udev's links in /dev/disk have none",
        ),
        (
            '  cmdline: "a\\eb"\n',
            "4: boot.cmdline: 'a\\x1bb' contains a line break or an invisible character",
            "",
        ),
        (
            "  load: {kernel: /boot/vmlinuz}\n",
            "4: boot.load.kernel: '/boot/vmlinuz' is not relative to the boot partition",
            "leave out the leading /",
        ),
        ("  load: {kernel: v-*-*}\n", "4: boot.load.kernel: 'v-*-*' contains more than one *", ""),
        (
            "  load: {initrd: ../x}\n",
            "4: boot.load.initrd: '../x' contains '..'",
            "write the path that is really meant",
        ),
        ("  load: {initrd: ''}\n", "4: boot.load.initrd: '' is not the name of a file", ""),
        (
            "autokexec:\n  macs:\n  - 00:11:22:33:44\n",
            "6: autokexec.macs[0]: '00:11:22:33:44' is not a MAC address",
            "such as 00:11:22:aa:bb:cc; ip link shows them",
        ),
        (
            "autokexec:\n  macs:\n  - 10:11:22:33:44\n",
            "6: autokexec.macs[0]: 10:11:22:33:44 is not a MAC address",
            "such as 00:11:22:aa:bb:cc; ip link shows them",
        ),
        ("autokexec: {delay: 3601}\n", "4: autokexec.delay: 3601 is not within 0 and 3600", ""),
        ("autokexec: {delay: -1}\n", "4: autokexec.delay: -1 is not within 0 and 3600", ""),
        (
            "initrd:\n  include-packages: [Vim]\n",
            "5: initrd.include-packages[0]: 'Vim' is not a Debian package's name",
            "two or more of a-z 0-9 + - . and the first one a letter or digit",
        ),
        (
            "initrd: {shell: bash}\n",
            "4: initrd.shell: 'bash' is not an absolute path",
            "write it with all folders, from / on",
        ),
        (
            "initrd:\n  packing:\n    compressor: ' '\n",
            "6: initrd.packing.compressor: ' ' is not a command",
            "such as zstd -T0 -18",
        ),
        (
            'initrd:\n  packing:\n    compressor: sh -c "x\n',
            "6: initrd.packing.compressor: 'sh -c \"x' is not a command: no closing quotation",
            "",
        ),
        (
            "initrd:\n  packing:\n    exclude-paths: ['*.pyc']\n",
            "6: initrd.packing.exclude-paths[0]: '*.pyc' is not an absolute path",
            "write it with all folders, from / on",
        ),
        ("paths: {cache: /}\n", "4: paths.cache: '/' is not a folder of its own", ""),
        (
            "paths: {workdir: ~/x}\n",
            "4: paths.workdir: '~/x' does not stand for your home here",
            "write the path without ~",
        ),
        (
            "paths:\n  workdir-subpaths: {cpio: /x}\n",
            "5: paths.workdir-subpaths.cpio: '/x' is not a relative path",
            "leave out the leading /",
        ),
        (
            "paths:\n  workdir-subpaths: {cpio: .}\n",
            "5: paths.workdir-subpaths.cpio: '.' is not the name of a file",
            "",
        ),
        (
            "paths:\n  workdir-subpaths: {cpio: a/../../b}\n",
            "5: paths.workdir-subpaths.cpio: 'a/../../b' contains '..'",
            "write the path that is really meant",
        ),
        (
            "module-configs:\n  r8152:\n    url: a b\n",
            "6: module-configs.r8152.url: 'a b' is not a URL",
            "",
        ),
        # combinations
        (
            "  part:\n    type: luks\n    block: /dev/mapper/root\n",
            "5: boot.part.type: type luks needs luks_block",
            "luks_block: the encrypted partition, such as /dev/nvme0n1p2",
        ),
        (
            "  part:\n    block: /dev/sda2\n    luks_block: /dev/sda3\n",
            "6: boot.part.luks_block: '/dev/sda3' does not go with type plain",
            "leave it out, or write type: luks",
        ),
        (
            "  part:\n    type: luks\n    block: /dev/sda2\n    luks_block: /dev/sda2\n",
            "6: boot.part.block: '/dev/sda2' is luks_block, too",
            "block: the device once unlocked, such as /dev/mapper/root",
        ),
        (
            "  load:\n    kernel: vmlinuz\n    initrd: initrd-*\n",
            "6: boot.load.initrd: the initrd 'initrd-*' has a *, but the kernel 'vmlinuz' has none",
            "the * of the initrd is what that of the kernel stands for",
        ),
        (
            "  load:\n    kernel: vmlinuz\n",
            "5: boot.load.kernel: the initrd 'initrd.img-*' (the default) has a *, "
            "but the kernel 'vmlinuz' has none",
            "the * of the initrd is what that of the kernel stands for",
        ),
        (
            "server-setup: {stiefelsystem-initrd: /boot/stiefelsystem/vmlinuz}\n",
            "4: server-setup.stiefelsystem-initrd: "
            "'/boot/stiefelsystem/vmlinuz' is the kernel's place, too",
            "",
        ),
        (
            "paths:\n  workdir-subpaths:\n    cpio: initrd/x\n",
            "6: paths.workdir-subpaths.cpio: 'initrd/x' lies within initrd ('initrd')",
            "each of the three needs a place of its own",
        ),
    ],
)
def test_refusal(text: str, message: str, hint: str) -> None:
    assert_refused(MINIMAL + text, message, hint)


ONE_OF = "the laptop's OS, one of: system-debian, system-arch, system-arch-dracut, system-gentoo"
BOOT = "boot: {disk: /dev/sda}\n"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (BOOT, "1: modules: no system module in the list, but it takes exactly one", ONE_OF),
        (
            f"\n{BOOT}modules: [lvm]\n",
            "3: modules: no system module in the list, but it takes exactly one",
            ONE_OF,
        ),
        (
            f"modules: [system-arch, system-debian]\n{BOOT}",
            "1: modules: system-arch and system-debian in the list, but it takes exactly one",
            ONE_OF,
        ),
        (
            f"modules:\n- nbd\n- system-debain\n{BOOT}",
            "3: modules[1]: 'system-debain' is not a valid choice",
            "did you mean system-debian?",
        ),
        (
            f"modules:\n- 7\n{BOOT}",
            "2: modules[0]: 7 is a number to YAML, not a text",
            'put it in quotes: "7"',
        ),
        (
            f"modules: [qqq]\n{BOOT}",
            "1: modules[0]: 'qqq' is not a valid choice",
            "choose one of: base, nbd, lvm, debug, r8152, clevo-fancontrol, "
            "system-debian, system-arch, system-arch-dracut, system-gentoo, "
            "or the path of a .yaml file",
        ),
        (
            "modules: [system-arch]\n",
            "1: boot.disk: is missing",
            "config-example.yaml says what it is for",
        ),
        (
            "modules: [system-arch]\nboot:\n",
            "2: boot.disk: is missing",
            "config-example.yaml says what it is for",
        ),
        (
            "modules: [system-arch]\nboot:\n  disk: null\n",
            "3: boot.disk: is missing",
            "config-example.yaml says what it is for",
        ),
        (
            "boot: {disk: /home/x}\n",
            "1: boot.disk: '/home/x' is not below /dev",
            "ls -l /dev/disk/by-id shows the disks",
        ),
        (
            "boot: {disk: /dev}\n",
            "1: boot.disk: '/dev' is not below /dev",
            "ls -l /dev/disk/by-id shows the disks",
        ),
        (
            "boot: {disk: /dev/../etc/x}\n",
            "1: boot.disk: '/dev/../etc/x' contains '..'",
            "write the path that is really meant",
        ),
        (
            "boot: {disk: sda}\n",
            "1: boot.disk: 'sda' is not an absolute path",
            "write it with all folders, from / on",
        ),
        ("- boot\n", "1: a list is not a section of keys and values", None),
        ("boot\n", "1: 'boot' is not a section of keys and values", None),
    ],
)
def test_refusal_of_the_whole(text: str, message: str, hint: str | None) -> None:
    assert_refused(text, message, hint)
