"""Deploy: how a service is started elsewhere: in a container on this machine."""
