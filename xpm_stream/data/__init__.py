"""Images, captions and masks from outside, and the synthetic corpus. No torch."""
