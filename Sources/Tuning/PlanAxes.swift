import Emission
import Foundation
import Schedules

extension Plan {
  /// The plan's choices by name, whatever they are; the threads of a caller who does not say are none.
  var axes: [String: String] {
    guard let text = try? Emitter.json(self),
      let fields = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    else { return [:] }
    return fields.filter { $0.key != "threads" }.mapValues { "\($0)" }
  }

  /// On how many axes two plans differ.
  static func distance(_ a: [String: String], _ b: [String: String]) -> Int {
    Set(a.keys).union(b.keys).reduce(0) { $0 + (a[$1] == b[$1] ? 0 : 1) }
  }

  /// The plan's choices with its tiles as parts of the head: what carries over to other sizes.
  func shape(key: Int, value: Int) -> [String: String] {
    var axes = axes
    axes["keyTile"] = "\(Double(keyTile) / Double(key))"
    axes["valueTile"] = "\(Double(valueTile) / Double(value))"
    return axes
  }
}
