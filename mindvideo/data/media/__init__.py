"""Pictures, video files and streams: pixels, whole videos or single frames."""
