//! The policies by name.

use core::fmt;

use super::adaptive::Adaptive;
use super::collect_at_goal::CollectAtGoal;
use super::config::PacerConfig;
use super::go::Go;
use super::sample::{CycleSample, Decision, Effort, Tick, amount};
use super::static_half::StaticHalf;
use super::zgc_director::ZgcDirector;
use super::{Common, PacerPolicy};

macro_rules! policies {
    ($($(#[$doc:meta])* $name:ident = $text:literal: $type:ty = $new:path;)+) => {
        /// Which policy.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        pub enum PolicyName {
            $($(#[$doc])* $name,)+
        }

        impl PolicyName {
            /// Every policy.
            pub const ALL: &'static [PolicyName] = &[$(PolicyName::$name,)+];

            /// The name in options.
            pub const fn name(self) -> &'static str {
                match self { $(PolicyName::$name => $text,)+ }
            }
        }

        /// A policy chosen by name. A plain value: to change the policy is to write another one.
        #[derive(Copy, Clone, Debug, PartialEq)]
        pub enum Policy {
            $($(#[$doc])* $name($type),)+
        }

        impl Policy {
            /// The policy of this name, for a heap in which `live` bytes are supposed to be live.
            pub fn new(name: PolicyName, config: PacerConfig, live: f64) -> Policy {
                let live = amount(live);
                match name { $(PolicyName::$name => Policy::$name($new(config, live)),)+ }
            }

            fn inner(&self) -> &dyn PacerPolicy {
                match self { $(Policy::$name(policy) => policy,)+ }
            }

            fn inner_mut(&mut self) -> &mut dyn PacerPolicy {
                match self { $(Policy::$name(policy) => policy,)+ }
            }
        }
    };
}

policies! {
    /// The toolkit's own: trigger and share planned together, the share corrected while marking runs.
    Adaptive = "adaptive": Adaptive = Adaptive::new;
    /// A model of Go's.
    Go = "go": Go = Go::new;
    /// A model of ZGC's director.
    ZgcDirector = "zgc-director": ZgcDirector = ZgcDirector::new;
    /// A cycle begins when half of the room is used.
    Static50 = "static-50": StaticHalf = StaticHalf::new;
    /// MemBalancer's heap size; mutators stop.
    MemBalancer = "membalancer": CollectAtGoal = CollectAtGoal::mem_balancer;
    /// The CPU-controlled heap's size; mutators stop.
    Mplr23 = "mplr23": CollectAtGoal = CollectAtGoal::cpu_controlled;
}

impl Policy {
    /// Another policy in its place, which is told what this one was told last.
    pub fn succeeded_by(&self, name: PolicyName, config: PacerConfig, last: Option<&CycleSample>) -> Policy {
        let mut policy = Policy::new(name, config, self.size().traced());
        if let Some(last) = last {
            policy.cycle_ended(last);
        }
        policy
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl PacerPolicy for Policy {
    fn name(&self) -> &'static str {
        self.inner().name()
    }
    fn common(&self) -> &Common {
        self.inner().common()
    }
    fn common_mut(&mut self) -> &mut Common {
        self.inner_mut().common_mut()
    }
    fn mutators_ran(&mut self, allocation_rate: f64) {
        self.inner_mut().mutators_ran(allocation_rate);
    }
    fn decide_concurrent(&mut self) -> Decision {
        self.inner_mut().decide_concurrent()
    }
    fn decide(&mut self) -> Decision {
        let decision = self.inner_mut().decide();
        debug_assert!(decision.goal.is_finite() && decision.trigger.is_finite(), "{decision:?}");
        debug_assert!(decision.trigger <= decision.goal || self.size().retained() >= decision.goal, "{decision:?}");
        decision
    }
    fn marking_begins(&mut self, reserved: f64) {
        self.inner_mut().marking_begins(reserved);
    }
    fn tick(&mut self, tick: &Tick) -> Effort {
        let effort = self.inner_mut().tick(tick);
        let most = self.config().gc_share_max + self.config().assist_cap + 1e-9;
        debug_assert!(!self.is_bounded() || effort.workers + effort.assist <= most, "{effort:?}");
        effort
    }
    fn learn(&mut self, cycle: &CycleSample) {
        self.inner_mut().learn(cycle);
    }
    fn stalls_at(&self) -> f64 {
        self.inner().stalls_at()
    }
    fn is_bounded(&self) -> bool {
        self.inner().is_bounded()
    }
}
