"""What ``reloadctl demo`` shows: a service under load, a good edit, a bad edit."""
