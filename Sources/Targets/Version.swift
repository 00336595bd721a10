/// Sluice's own version; part of every cache key, manifest and tuning record.
public let sluiceVersion = "0.1.0"
