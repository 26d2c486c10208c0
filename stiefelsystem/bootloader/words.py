"""What of the laptop's kernel command line goes to the desktop, and what does not, and why.

The words: the kernel's admin-guide/kernel-parameters.txt, dracut.cmdline(7), initramfs-tools(7).
What is harmless elsewhere (i915.*, nomodeset, intel_iommu=, acpi_osi=, a console= that is not
there), and whatever is not known here, stays.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# As lib/cmdline.c splits: blanks end a word outside of double quotes, which nothing escapes.
_WORD = re.compile(r'(?:[^ \t\n\r\f\v"]|"[^"]*(?:"|$))+')
_RULES = [
    (re.compile(pattern, re.S), reason)
    for pattern, reason in (
        (r"(BOOT_IMAGE|initrd|BOOTIF)=.*", "it is the boot loader's own word"),
        (r"stiefel_\w+=.*", "it belongs to a session that is over"),
        (
            r"(resume|resume_offset|resumeflags|resumedelay|rd\.resume)=.*|resumewait",
            "a hibernated system must not wake up on other hardware",
        ),
        (r"hibernate=(?!no$|noresume$).*", "what runs on the desktop is not hibernated"),
        (
            r"(mem|memmap|efi_fake_mem|reserve|(default_)?hugepages(z)?|crashkernel)=.*",
            "it is about the laptop's memory, and the desktop has another",
        ),
        (
            r"(maxcpus|nr_cpus|possible_cpus|isolcpus|nohz_full|rcu_nocbs|irqaffinity)=.*",
            "it counts the laptop's CPUs, and the desktop has others",
        ),
        (
            r"(earlycon|earlyprintk)=.*(0x|mmio|pciserial).*",
            "it writes to an address of the laptop's hardware, which is something else elsewhere",
        ),
        (
            r"(vfio-pci\.ids|vfio_pci\.ids|pci-stub\.ids|pci_stub\.ids|xen-pciback\.hide)=.*",
            "it would keep devices of the same kind from the desktop's drivers",
        ),
        (
            r"(drm|drm_kms_helper)\.edid_firmware=.*",
            "it describes the laptop's screen, and the desktop has another",
        ),
        (r"video=[^:]+:(.*,)?d", "it switches an output off, which may be the desktop's only one"),
        (r"fbcon=rotate(_all)?:.*", "it turns the picture for the laptop's screen"),
        (
            r"(ip|netroot|rd\.neednet)=.*",
            "it would wait for the laptop's network, and may take the link to the disk for it",
        ),
        (
            r"(modprobe\.blacklist|module_blacklist|rd\.driver\.blacklist)=(.*,)?(nbd|wireguard)(,.*)?",
            "it keeps out what the way to the disk needs",
        ),
        # ipv6.disable_ipv6= stays: the keeper switches IPv6 on where it needs it.
        (r"ipv6\.disable=(?!0$).*", "the link to the disk needs IPv6"),
    )
]


class Dropped(NamedTuple):
    """A word that the desktop does not get, and why, as a short clause."""

    word: str
    reason: str


def split(cmdline: str) -> list[str]:
    """The words of a command line, with their quotes."""
    return _WORD.findall(cmdline)


def value(cmdline: str, name: str) -> str | None:
    """The value of the last `name=` before `--`, without quotes; None where there is none."""
    values = [word.replace('"', "") for word in _kernel_words(split(cmdline))]
    found = [word.partition("=")[2] for word in values if word.startswith(f"{name}=")]
    return found[-1] if found else None


def clean_cmdline(cmdline: str) -> tuple[str, list[Dropped]]:
    """The command line for the desktop, and what was dropped. What follows `--` is for init, and
    stays as it is."""
    words = split(cmdline)
    kernel_words = _kernel_words(words)
    kept, dropped = [], []
    for word in kernel_words:
        bare = word.replace('"', "")
        reason = next((reason for rule, reason in _RULES if rule.fullmatch(bare)), None)
        if reason is None:
            kept.append(word)
        else:
            dropped.append(Dropped(word, reason))
    return " ".join(kept + words[len(kernel_words) :]), dropped


def with_word(cmdline: str, word: str) -> str:
    """The command line with a word for the kernel, once."""
    words = split(cmdline)
    kernel_words = _kernel_words(words)
    if word in kernel_words:
        return cmdline
    return " ".join((*kernel_words, word, *words[len(kernel_words) :]))


def _kernel_words(words: list[str]) -> list[str]:
    return words[: words.index("--")] if "--" in words else words
