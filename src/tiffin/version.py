"""The version of this package, as installed. Owns nothing else."""

VERSION = "0.1.0.dev0"
