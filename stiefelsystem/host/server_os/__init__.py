"""What setup-server-os installs: the plan, with a module for each initrd generator."""
