import Glibc
import Synchronization
import Targets

/// A kernel library mapped into this process; unmapped when the last reference goes.
public final class LoadedLibrary: Sendable {
  public let path: String
  private nonisolated(unsafe) let handle: UnsafeMutableRawPointer

  /// Loads the library at `path`; throws a sentence if it is missing, foreign, damaged or unresolvable.
  ///
  /// `dependencies` are loaded first and stay: an OpenMP runtime that lies outside the loader's own path.
  public init(_ path: String, dependencies: [String] = []) throws {
    let header = try ELFHeader(try Files.read(path), path: path)
    if let host = Target.Architecture.host, header.architecture != host {
      throw SluiceError(
        .badInput,
        "\(path) was built for \(header.architecture.title), and this machine is \(host.title).")
    }
    self.path = path
    handle = try Self.loading.withLock { _ -> UnsafeMutableRawPointer in
      for dependency in dependencies { try Self.load(dependency: dependency) }
      // A bare name would be searched for; a path is opened as it is.
      guard let handle = dlopen(path.contains("/") ? path : "./\(path)", RTLD_NOW | RTLD_LOCAL)
      else {
        throw SluiceError(.badInput, "Cannot load \(path): \(Self.lastError()).")
      }
      return handle
    }
  }

  /// One load at a time, so that no other comes between looking for a dependency and loading it.
  private static let loading = Mutex(())

  /// A runtime that is there already, from whatever folder, is taken: a second OpenMP ends the process.
  private static func load(dependency: String) throws {
    let name = dependency.split(separator: "/").last.map(String.init) ?? dependency
    if dlopen(name, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL) != nil { return }
    guard dlopen(dependency, RTLD_NOW | RTLD_GLOBAL) != nil else {
      throw SluiceError(.badInput, "Cannot load \(dependency): \(lastError()).")
    }
  }

  deinit { dlclose(handle) }

  /// The address of a function or variable that the library exports; valid while this object lives.
  public func address(of symbol: String) throws -> UnsafeMutableRawPointer {
    guard let address = dlsym(handle, symbol) else {
      throw SluiceError(
        .badInput,
        "\(path) has no entry \(symbol): it is not a Sluice library, or of another version.")
    }
    return address
  }

  /// Calls `int32_t symbol(void *arguments)` and returns its code.
  public func call(_ symbol: String, _ arguments: UnsafeMutableRawPointer) throws -> Int32 {
    typealias Entry = @convention(c) (UnsafeMutableRawPointer) -> Int32
    let entry = unsafeBitCast(try address(of: symbol), to: Entry.self)
    return withExtendedLifetime(self) { entry(arguments) }
  }

  /// Calls `const char *symbol(void)` and returns a copy of the text, such as the library's manifest.
  public func text(_ symbol: String) throws -> String {
    typealias Entry = @convention(c) () -> UnsafePointer<CChar>?
    let entry = unsafeBitCast(try address(of: symbol), to: Entry.self)
    return withExtendedLifetime(self) { entry().map { String(cString: $0) } ?? "" }
  }

  private static func lastError() -> String {
    dlerror().map { String(cString: $0) } ?? "the loader gives no reason"
  }
}
