import Targets

extension KernelCache {
  /// What lies in an entry beside the source and the product, as `build.json`.
  public struct Record: Hashable, Codable, Sendable {
    public var key: String
    public var description: String
    public var target: Target
    public var compiler: String
    public var arguments: [String]
    public var sluice: String
    public var sourceDigest: String
    public var productDigest: String
  }

  /// An entry that was found or made.
  public struct Entry: Hashable, Sendable {
    /// The entry's folder, and in it the product, the source and `build.json`.
    public var folder: String
    public var product: String
    public var source: String
    public var record: Record
    /// Whether it had to be built now.
    public var wasBuilt: Bool
    /// A sentence for the user when the usual folder could not be written and another was taken.
    public var notice: String?
  }
}
