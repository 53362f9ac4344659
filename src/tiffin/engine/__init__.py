"""Engine: owns every open call, asks the scheduler, drives the workers over their links."""
