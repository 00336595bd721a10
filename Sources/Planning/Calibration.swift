import Targets

/// What the words of the tile vocabulary cost on a machine, as `sluice probe` measures them.
///
/// Times are seconds of one thread; a vector is one register of the target's lanes.
public struct Calibration: Hashable, Codable, Sendable {
  /// A vector multiplication with addition, enough of them side by side: the peak.
  public var multiplyAdd: Double
  /// The same on pairs of bf16: twice the work.
  public var multiplyAddPairs: Double
  /// A vector multiplication with addition in a product of tiles, and the same on pairs.
  public var product: Double
  public var productPairs: Double
  /// A matrix unit's product of 16 x 32 by 32 x 16 in a product of tiles, its operands' way
  /// included; nil without a unit, and in records from before it was measured.
  public var matrix: Double?
  /// A vector multiplication with addition in the register recurrence.
  public var recurrence: Double
  /// A vector of one pair of tokens in the exact scores under a decay.
  public var scores: Double
  /// A vector of running products.
  public var scan: Double
  /// A vector of keys whose decays are folded into it.
  public var fold: Double
  /// A vector that a transpose moves.
  public var transpose: Double
  /// A vector of a map: loads, one operation, a store.
  public var pass: Double
  /// A vector of exponentials, of quotients.
  public var exponential: Double
  public var division: Double
  /// Bytes a second that one thread reads and writes at each level.
  public var firstRead: Double
  public var firstWrite: Double
  public var secondRead: Double
  public var secondWrite: Double
  public var thirdRead: Double
  public var thirdWrite: Double
  public var memoryRead: Double
  public var memoryWrite: Double
  /// Bytes a second in rows of `rowBytes` that lie apart, as a head's rows do in [B, T, H, D].
  public var rowsRead: Double
  public static let rowBytes = 512.0
  /// Threads that were measured together, and how many times one thread's arithmetic they did.
  public var threads: Int
  public var scaling: Double
  /// Bytes a second that all those threads read from memory together.
  public var memoryReadTogether: Double
  /// Beginning and ending a team of threads.
  public var forkJoin: Double
  /// Bytes of the last cache, which cores may share.
  public var lastCache: Int
}

extension Calibration {
  /// What is assumed of a machine that nobody has measured: a core of a few years ago at 3 GHz, with
  /// two units for vectors. Only the order of plans should be asked of it.
  public static func assumed(for target: Target) -> Calibration {
    let cycle = 1 / 3e9
    // Plain C comes out as vectors of the compiler's choice, about half as fast as it could be.
    let plain = target.vocabulary == "generic.h" ? 2.0 : 1.0
    let peak = cycle / 2 * plain
    let bytes = Double(target.lanes * 4)
    let pairs =
      target.hasBFloat16Products ? 2 * peak / target.bfloat16ProductRate : 6 * peak
    return Calibration(
      multiplyAdd: peak, multiplyAddPairs: pairs, product: 1.3 * peak, productPairs: 1.1 * pairs,
      matrix: target.hasMatrixUnit ? 24 * cycle : nil,
      recurrence: 1.3 * peak, scores: 4.5 * peak, scan: 2.5 * peak, fold: 12 * peak,
      transpose: 6 * peak,
      pass: 2.5 * peak, exponential: 20 * peak, division: 16 * peak,
      firstRead: 1.5 * bytes / cycle, firstWrite: bytes / cycle, secondRead: 0.7 * bytes / cycle,
      secondWrite: 0.3 * bytes / cycle, thirdRead: 25e9, thirdWrite: 20e9, memoryRead: 12e9,
      memoryWrite: 9e9, rowsRead: 7e9, threads: 2, scaling: 1.95, memoryReadTogether: 22e9,
      forkJoin: 2e-6, lastCache: 16 << 20)
  }

  /// Seconds, and bytes a second: what is best when it is least, and when it is most.
  private static var times: [WritableKeyPath<Calibration, Double>] {
    [
      \.multiplyAdd, \.multiplyAddPairs, \.product, \.productPairs, \.recurrence, \.scores, \.scan,
      \.fold, \.transpose, \.pass, \.exponential, \.division, \.forkJoin,
    ]
  }
  private static var rates: [WritableKeyPath<Calibration, Double>] {
    [
      \.firstRead, \.firstWrite, \.secondRead, \.secondWrite, \.thirdRead, \.thirdWrite,
      \.memoryRead, \.memoryWrite, \.rowsRead, \.memoryReadTogether,
    ]
  }

  /// What a machine does while nothing disturbs it: of each figure the best of several measurements,
  /// and the middle one of how arithmetic scales, whose errors go both ways.
  ///
  /// - Parameter runs: measurements of one machine; at least one.
  public static func undisturbed(_ runs: [Calibration]) -> Calibration {
    var best = runs[0]
    for run in runs {
      for path in times { best[keyPath: path] = min(best[keyPath: path], run[keyPath: path]) }
      for path in rates { best[keyPath: path] = max(best[keyPath: path], run[keyPath: path]) }
      best.matrix = run.matrix.map { min($0, best.matrix ?? $0) } ?? best.matrix
    }
    best.scaling = runs.map(\.scaling).sorted()[runs.count / 2]
    return best
  }

  /// Every figure is a positive number that a machine could have.
  public var isPlausible: Bool {
    let times = Self.times.map { self[keyPath: $0] } + (matrix.map { [$0] } ?? [])
    let rates = Self.rates.map { self[keyPath: $0] }
    return times.allSatisfy { $0 > 1e-13 && $0 < 1e-2 }
      && rates.allSatisfy { $0 > 1e6 && $0 < 1e16 }
      && threads >= 1 && lastCache >= 0 && scaling > 0 && scaling < 2 * Double(threads)
  }
}
