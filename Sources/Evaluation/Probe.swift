import Emission
import Execution
import Foundation
import Planning
import Targets
import Templates

/// What a machine was measured to do with a target's words, beside what the machine is.
public struct Probe: Hashable, Codable, Sendable {
  /// The layout of this record; another number is another version's.
  public static let currentFormat = 1

  public var format: Int
  public var sluice: String
  /// The machine's name for the processor, its features, cores and caches.
  public var host: Execution.Host
  public var target: String
  public var calibration: Calibration

  public init(host: Execution.Host, target: String, calibration: Calibration) {
    format = Self.currentFormat
    sluice = sluiceVersion
    self.host = host
    self.target = target
    self.calibration = calibration
  }

  /// Runs of the measuring program: one that is disturbed for a while must not decide what the planner
  /// believes of the machine.
  private static let runs = 3

  /// Measures this machine with the words of a target, in processes of their own; ten seconds.
  public static func measure(
    _ target: Target, on host: Execution.Host, threads: Int, builder: Builder,
    cache: KernelCache = KernelCache()
  ) async throws -> Probe {
    guard host.runs(target) else {
      throw SluiceError(
        .unsupported,
        "\(target.name) cannot be probed here: this machine (\(host.cpuName)) has not its "
          + "instructions. Probe it where it runs, and give the file to --probe.")
    }
    let unit = target.hasMatrixUnit ? ["amx.h"] : []
    let source = try measuringSource(
      "calibrate.c",
      [target.vocabulary, "common.h", "tiles.h", "recurrence.h"] + unit + ["calibrate.c"])
    let job = builder.job(source, for: target, output: .executable)
    let entry = try await cache.entry(for: job, description: "calibrate", builder: builder)
    var runs: [Calibration] = []
    for _ in 0..<Self.runs {
      let outcome = try await Program.on(
        target, entry.product,
        ["\(threads)", "\(target.firstLevelCache)", "\(target.secondLevelCache)"]
      ).run(limit: .seconds(120))
      guard outcome.succeeded,
        var figures = try? JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
          as? [String: Any]
      else {
        throw SluiceError(.internal, "The machine could not be probed: \(outcome.description)")
      }
      figures["lastCache"] =
        host.cacheSizes.max { $0.key < $1.key }?.value ?? target.secondLevelCache
      runs.append(
        try JSONDecoder().decode(
          Calibration.self, from: try JSONSerialization.data(withJSONObject: figures)))
    }
    let calibration = Calibration.undisturbed(runs)
    guard calibration.isPlausible else {
      throw SluiceError(
        .internal, "The probe measured what no machine does: \(try Emitter.json(calibration))")
    }
    return Probe(host: host, target: target.name, calibration: calibration)
  }

  /// Where a target's probe of this machine is kept: `probes/TARGET.json` in the cache's folder.
  public static func path(for target: String, in folder: String = KernelCache().folder) -> String {
    "\(folder)/probes/\(target).json"
  }

  /// Writes the record for later plans.
  public func store(at path: String) throws {
    try Files.makeFolder(Files.parent(of: path))
    let aside = "\(path).\(ProcessInfo.processInfo.processIdentifier)"
    try Files.write(try Emitter.json(self, pretty: true) + "\n", to: aside)
    try Files.rename(aside, to: path)
  }

  /// Reads a record, which must be whole and of this version and target.
  public static func read(_ path: String, for target: String) throws -> Probe {
    let remedy = "run 'sluice probe --target \(target)' to make it anew."
    struct Head: Decodable { var format: Int }
    let bytes = Data(try Files.read(path))
    guard let head = try? JSONDecoder().decode(Head.self, from: bytes) else {
      throw SluiceError(.badInput, "\(path) is no probe of a machine; \(remedy)")
    }
    guard head.format == currentFormat else {
      throw SluiceError(
        .badInput,
        "\(path) is a probe of format \(head.format), and this is format \(currentFormat); "
          + remedy)
    }
    guard let probe = try? JSONDecoder().decode(Probe.self, from: bytes),
      probe.calibration.isPlausible
    else { throw SluiceError(.badInput, "The probe \(path) is damaged; \(remedy)") }
    guard probe.target == target else {
      throw SluiceError(
        .badInput, "\(path) is a probe of \(probe.target), not of \(target); \(remedy)")
    }
    return probe
  }

  /// The record that is kept for this machine; nil when there is none.
  ///
  /// - Throws: `SluiceError` when it is damaged, or another machine's.
  public static func stored(for target: String, on host: Execution.Host) throws -> Probe? {
    let path = path(for: target)
    guard Files.isRegular(path) else { return nil }
    let probe = try read(path, for: target)
    guard probe.host.cpuName == host.cpuName, probe.host.features == host.features,
      probe.host.cacheSizes == host.cacheSizes
    else {
      throw SluiceError(
        .badInput,
        "\(path) is a probe of another machine (\(probe.host.cpuName)); run 'sluice probe' here.")
    }
    return probe
  }
}

/// A program that measures, made of templates one after the other.
func measuringSource(_ name: String, _ templates: [String]) throws -> SourceFile {
  // The clock is POSIX's, which strict C11 hides.
  var text = "#define _POSIX_C_SOURCE 200809L\n"
  for template in templates {
    guard let part = Templates.text(template) else {
      throw SluiceError(.internal, "The template \(template) is not part of this build.")
    }
    text += part + "\n"
  }
  return SourceFile(name: name, text: text)
}
