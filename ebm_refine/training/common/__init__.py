"""What every training run shares: resumable state, stopping, data, augmentation."""
