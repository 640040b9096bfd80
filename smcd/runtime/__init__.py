"""What every command needs around its work: errors, files, media, processes, precision, compilation."""
