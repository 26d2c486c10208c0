"""What setup-server-os looks at before its first question, and what it says of that."""
