"""What lies between the command line and the classes: configuration, rows, files, loggers."""
