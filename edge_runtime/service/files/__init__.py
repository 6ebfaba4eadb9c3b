"""The system's files of the service, installed as they are; the Debian package takes them from here too."""
